"""The jobs: search, label, train and judge as resumable stages on disk, and experiments made of them."""
