# What differs between environments beyond their names; the names themselves stand in configs/<environment>.yaml.

variable "environment" {
  type        = string
  description = "The settings profile of configs/: its project, bucket, region and datasets are what is made here."

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment must be dev, staging or prod."
  }
}

variable "subnet_cidr" {
  type        = string
  description = "Addresses of the subnet in which Composer, Dataproc and the training job run; Dataproc Serverless needs /22 or larger for its executor maximum."
  default     = "10.10.0.0/20"

  validation {
    condition     = can(cidrhost(var.subnet_cidr, 0)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.subnet_cidr))
    error_message = "subnet_cidr must be a private IPv4 range, such as 10.10.0.0/20."
  }
}

variable "composer_image_version" {
  type        = string
  description = "The Composer 3 build that the DAGs are written for and tested under."
  default     = "composer-3-airflow-3.2.2-build.2"

  validation {
    condition     = can(regex("^composer-3-airflow-3\\.[0-9]+\\.[0-9]+-build\\.[0-9]+$", var.composer_image_version))
    error_message = "composer_image_version must name one build of an Airflow 3, such as composer-3-airflow-3.2.2-build.2."
  }
}

variable "composer_size" {
  type        = string
  description = "Size of Composer's own database and web server: SMALL, MEDIUM or LARGE."
  default     = "SMALL"

  validation {
    condition     = contains(["SMALL", "MEDIUM", "LARGE"], var.composer_size)
    error_message = "composer_size must be SMALL, MEDIUM or LARGE."
  }
}

variable "composer_max_workers" {
  type        = number
  description = "Airflow workers that Composer may start."
  default     = 2

  validation {
    condition     = var.composer_max_workers >= 1 && var.composer_max_workers <= 10
    error_message = "composer_max_workers must be 1 to 10."
  }
}

variable "stream_cluster_count" {
  type        = number
  description = "1 makes a Dataproc cluster for the endless stream, the alternative to Serverless batches of limited life; 0 makes none."
  default     = 0

  validation {
    condition     = contains([0, 1], var.stream_cluster_count)
    error_message = "stream_cluster_count must be 0 or 1."
  }
}

variable "stream_cluster_workers" {
  type        = number
  description = "Workers of the stream's cluster."
  default     = 2

  validation {
    condition     = var.stream_cluster_workers >= 2
    error_message = "stream_cluster_workers must be at least 2."
  }
}

variable "images" {
  type        = map(string)
  description = "Image name to address by digest; gcp/build_images.py writes it as a file for -var-file. Without `ml` there is no training job."
  default     = {}

  validation {
    condition     = alltrue([for address in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", address))])
    error_message = "images must be given by digest, as in …/ml@sha256:…; a tag can be moved."
  }
}

variable "kafka_bootstrap_servers" {
  type        = string
  description = "Kafka's address, host:port[,host:port]; empty: the one of configs/<environment>.yaml."
  default     = ""
  sensitive   = true
}

variable "kafka_secret" {
  type        = string
  description = "Kafka's SASL credentials as JSON. Goes to Secret Manager and into neither plan nor state: TF_VAR_kafka_secret, never a file."
  default     = null
  sensitive   = true
  ephemeral   = true
}

variable "kafka_secret_version" {
  type        = number
  description = "Raise it by one to store a new kafka_secret; 0: the version is added outside of Terraform."
  default     = 0

  validation {
    condition     = var.kafka_secret_version >= 0 && floor(var.kafka_secret_version) == var.kafka_secret_version
    error_message = "kafka_secret_version must be a whole number, 0 or more."
  }
}

variable "billing_account" {
  type        = string
  description = "The billing account that the budget belongs to; empty: no budget."
  default     = ""

  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account must look like 012345-6789AB-CDEF01."
  }
}

variable "budget_amount" {
  type        = number
  description = "Monthly budget in the currency of the billing account; its administrators are told at 50, 90 and 100 %."
  default     = 500

  validation {
    condition     = var.budget_amount > 0
    error_message = "budget_amount must be above 0."
  }
}

variable "github_repository" {
  type        = string
  description = "owner/name of the repository whose deploy workflow may act as the deployer; empty: none may."
  default     = ""

  validation {
    condition     = var.github_repository == "" || can(regex("^[\\w.-]+/[\\w.-]+$", var.github_repository))
    error_message = "github_repository must be owner/name."
  }
}

variable "protect_data" {
  type        = bool
  description = "Refuse to delete the lake's bucket, the BigQuery tables and Composer."
  default     = true
}
