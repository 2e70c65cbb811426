variable "region" {
  description = "AWS region of all resources."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region)) && !startswith(var.region, "cn-")
    error_message = "Expected a region such as us-east-1 or eu-central-1. China and GovCloud are not supported, because they publish the certificates of RDS elsewhere."
  }
}

variable "name" {
  description = "Prefix of all names: <name>-server, <name>-db, <name>-sg."
  type        = string
  default     = "scheduler"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,22}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "Expected 2 to 24 characters of a-z, 0-9 and single hyphens, beginning with a letter, because RDS and ElastiCache accept no other names."
  }
}

variable "tags" {
  description = "Tags that all resources get in addition to Project and ManagedBy."
  type        = map(string)
  default     = {}
}

# --- network access

variable "allowed_cidrs" {
  description = "Networks that may reach the API on port 8000, for example [\"203.0.113.7/32\"]. If it is empty, the API is reachable only through Session Manager. The API speaks HTTP without TLS, so 0.0.0.0/0 is refused."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : try(cidrhost(cidr, 0) == split("/", cidr)[0] && can(cidrnetmask(cidr)) && tonumber(split("/", cidr)[1]) >= 8, false)])
    error_message = "Expected IPv4 networks of /8 or smaller by their first address, such as 203.0.113.7/32 or 203.0.113.0/24. The API speaks HTTP without TLS, so secrets and payloads would be readable on their way: do not open it to the internet, but put a proxy with TLS in front of it."
  }
}

variable "auth_mode" {
  description = "Who may use the API: keys (clients with a secret; the host makes the first one and keeps it in SSM Parameter Store, see the output secret_command) or open (everyone who can reach it)."
  type        = string
  default     = "keys"

  validation {
    condition     = contains(["keys", "open"], var.auth_mode)
    error_message = "Expected keys or open."
  }
}

variable "ssh_cidrs" {
  description = "Networks that may reach port 22. Better keep it empty: port 22 is then closed, and Session Manager opens shells. There is no key pair in either case; EC2 Instance Connect installs a key for one minute."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.ssh_cidrs : try(cidrhost(cidr, 0) == split("/", cidr)[0] && can(cidrnetmask(cidr)) && tonumber(split("/", cidr)[1]) >= 16, false)])
    error_message = "Expected IPv4 networks of /16 or smaller by their first address, such as 203.0.113.7/32 or 203.0.113.0/24; port 22 is never opened to the internet."
  }
}

variable "egress_ports" {
  description = "TCP ports on the internet to which the host may connect: 443 for AWS and images, 80 for Ubuntu's packages. Add the ports that http.request tasks need."
  type        = list(number)
  default     = [80, 443]

  validation {
    condition     = contains(var.egress_ports, 443) && contains(var.egress_ports, 80) && alltrue([for port in var.egress_ports : port >= 1 && port <= 65535])
    error_message = "The list has to contain 80 and 443. Without them, the host cannot install packages or reach AWS."
  }
}

variable "fixed_address" {
  description = "Give the host an Elastic IP, so that its address survives a stop and a new image. It costs as much as any public IPv4 address, even while the host is stopped."
  type        = bool
  default     = false
}

# --- the host

variable "instance_type" {
  description = "Type of the host: t3.micro, or t2.micro for accounts of the 12-month free tier."
  type        = string
  default     = "t3.micro"

  validation {
    condition     = contains(["t3.micro", "t2.micro"], var.instance_type)
    error_message = "Only t3.micro and t2.micro are supported: the memory limits of the containers fit their 1 GiB, and both can be free. Accounts on the Free plan (opened since 15 July 2025) refuse t2.micro with InvalidParameterCombination; t3.micro works in every account."
  }
}

variable "ubuntu_version" {
  description = "Ubuntu LTS of the host: 22.04 or 24.04."
  type        = string
  default     = "22.04"

  validation {
    condition     = contains(["22.04", "24.04"], var.ubuntu_version)
    error_message = "Only 22.04 and 24.04 are supported, because the packages that the host installs were checked for these two."
  }
}

variable "root_volume_gib" {
  description = "Size of the host's disk in GiB; it also holds 2 GiB of swap. The free tier of EBS covers 30."
  type        = number
  default     = 16

  validation {
    condition     = var.root_volume_gib >= 12 && var.root_volume_gib <= 30 && floor(var.root_volume_gib) == var.root_volume_gib
    error_message = "Expected 12 to 30 GiB: a smaller disk is too small for Ubuntu, swap and two images, and a larger one is not free."
  }
}

variable "image" {
  description = "Image to run, as a full reference (preferably with a digest), from a registry that needs no log-in. If null, the host runs the tag image_tag of the ECR repository of this module."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || (can(regex("^[a-z0-9][^[:space:]]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$", var.image)) && !can(regex(":latest$", var.image)))
    error_message = "Expected a reference with a tag other than latest, or with a digest, such as ghcr.io/you/scheduler@sha256:…. Otherwise a replaced host might not run the same image as its predecessor."
  }
}

variable "image_tag" {
  description = "Tag in the ECR repository of this module, used if image is null. A new tag replaces the host, which takes about four minutes."
  type        = string
  default     = "v1"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag)) && var.image_tag != "latest"
    error_message = "Expected a tag other than latest. Tags of the repository are immutable, so that a replaced host runs the same image as its predecessor."
  }
}

variable "settings" {
  description = "Additional settings of the scheduler, as in docs/configuration.md, for example { RATE_LIMIT_PER_MINUTE = \"600\" }. They must not contain secrets, because state and user data would show them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^[A-Z][A-Z0-9_]*$", name)) && !can(regex("^(DATABASE_URL|DATABASE_CA_FILE|REDIS_URL|REDIS_CA_FILE|REDIS_CLUSTER|REDIS_SENTINEL|AUTH$|CLIENTS_DIR|HTTP_SIGNING_SECRET$|HOST|PORT|METRICS_PORT|API_METRICS_PORT|NODE_OPTIONS)", name))])
    error_message = "Expected names of settings in capitals. Addresses, clients, secrets, ports and memory (DATABASE_URL…, DATABASE_CA_FILE, REDIS_URL…, REDIS_CA_FILE, REDIS_CLUSTER, REDIS_SENTINEL…, AUTH, CLIENTS_DIR, HTTP_SIGNING_SECRET, HOST, PORT, METRICS_PORT, API_METRICS_PORT, NODE_OPTIONS) are set by this module: auth_mode is a variable of its own."
  }
}

# --- PostgreSQL

variable "db_instance_class" {
  description = "Class of the database: db.t3.micro or db.t4g.micro."
  type        = string
  default     = "db.t3.micro"

  validation {
    condition     = contains(["db.t3.micro", "db.t4g.micro"], var.db_instance_class)
    error_message = "Only db.t3.micro and db.t4g.micro are supported, because these classes can be free. The Free plan refuses larger ones."
  }
}

variable "db_storage_gib" {
  description = "Storage of the database in GiB. You can increase it later, but not decrease it. The free tier covers 20."
  type        = number
  default     = 20

  validation {
    condition     = var.db_storage_gib >= 20 && var.db_storage_gib < 400 && floor(var.db_storage_gib) == var.db_storage_gib
    error_message = "Expected 20 to 399 GiB: RDS does not accept less, and a micro class cannot make use of more."
  }
}

variable "db_backup_days" {
  description = "Number of days for which RDS keeps automated backups. The Free plan limits it."
  type        = number
  default     = 1

  validation {
    condition     = var.db_backup_days >= 0 && var.db_backup_days <= 35
    error_message = "Expected 0 (no backups) to 35 days."
  }
}

variable "db_multi_az" {
  description = "Keep a standby of the database in another zone, with automatic failover. This doubles the price of the database."
  type        = bool
  default     = false
}

variable "db_deletion_protection" {
  description = "Refuse to delete the database. Before terraform destroy, set it to false and apply."
  type        = bool
  default     = false
}

variable "db_final_snapshot" {
  description = "Take a snapshot when the database is destroyed. The snapshot stays, and is billed by its size, until you delete it by hand. Without it, terraform destroy deletes the tasks permanently."
  type        = bool
  default     = true
}

# --- Redis

variable "redis" {
  description = "How Redis runs: container (on the host) or elasticache (managed, with TLS)."
  type        = string
  default     = "container"

  validation {
    condition     = contains(["container", "elasticache"], var.redis)
    error_message = "Expected container or elasticache."
  }
}

variable "redis_node_type" {
  description = "Type of the ElastiCache nodes."
  type        = string
  default     = "cache.t3.micro"

  validation {
    condition     = can(regex("^cache\\.[a-z0-9]+\\.[a-z0-9]+$", var.redis_node_type))
    error_message = "Expected a node type such as cache.t3.micro."
  }
}

variable "redis_nodes" {
  description = "Number of ElastiCache nodes. With 2 or more, a replica in another zone takes over after a failure. One node is enough for correctness, because its content is rebuilt from PostgreSQL."
  type        = number
  default     = 1

  validation {
    condition     = var.redis_nodes >= 1 && var.redis_nodes <= 3 && floor(var.redis_nodes) == var.redis_nodes
    error_message = "Expected 1 to 3 nodes."
  }
}

variable "redis_token_secret_arn" {
  description = "ARN of a secret that you created, with the auth token that you set on the replication group by hand (docs/aws.md explains how). If null, only the security group protects Redis."
  type        = string
  default     = null

  validation {
    condition     = var.redis_token_secret_arn == null || (var.redis == "elasticache" && can(regex("^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+$", var.redis_token_secret_arn)))
    error_message = "Expected the ARN of a secret in Secrets Manager. It needs redis = \"elasticache\"."
  }
}

# --- costs

variable "budget_email" {
  description = "E-mail address that is notified when the month's costs reach 80 % of the limit, or when the forecast exceeds the limit. If null, no budget is created."
  type        = string
  default     = null

  validation {
    condition     = var.budget_email == null || can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", var.budget_email))
    error_message = "Expected an e-mail address."
  }
}

variable "budget_usd" {
  description = "Limit of the budget, in US dollars per month."
  type        = number
  default     = 5

  validation {
    condition     = var.budget_usd > 0
    error_message = "Expected more than 0."
  }
}
