environment          = "prod"
subnet_cidr          = "10.30.0.0/20"
composer_size        = "MEDIUM"
composer_max_workers = 4
budget_amount        = 2000
