environment   = "staging"
subnet_cidr   = "10.20.0.0/20"
budget_amount = 500
