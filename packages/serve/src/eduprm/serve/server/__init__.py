"""The service: settings, the queue with its worker, the routes, the command. Needs the extra `server`."""
