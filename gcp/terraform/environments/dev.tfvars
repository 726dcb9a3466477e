environment          = "dev"
subnet_cidr          = "10.10.0.0/20"
composer_max_workers = 1
budget_amount        = 300
protect_data         = false
