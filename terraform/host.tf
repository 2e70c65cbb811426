# The host is set up by one cloud-config, which writes these files and runs one script.
# The compose file is the one of the repository, adapted to a host with managed PostgreSQL.

locals {
  api_port = 8000
  # The directory belongs to the image's user, 1000:1000. A bind mount makes it available in the containers.
  secrets_directory = "/run/scheduler/app"
  image             = var.image == null ? "${aws_ecr_repository.main.repository_url}:${var.image_tag}" : var.image

  repository_compose = yamldecode(file("${path.module}/../compose.yaml"))

  # Memory limits in MiB. The host has 1 GiB, and swap covers short peaks beyond it.
  memory_mib       = { redis = 112, migrate = 192, api = 208, worker = 224, reclaimer = 144 }
  heap_mib         = { migrate = 112, api = 112, worker = 128, reclaimer = 80 }
  redis_memory_mib = 64

  host_services = [for name in keys(local.repository_compose.services) : name if name != "postgres" && !(name == "redis" && local.managed_redis)]

  # While a batch is checked, stored and answered, the process holds several copies, so the default of 16 MiB would not
  # fit into the memory. A task must fail if no handler knows its action; a simulated one would complete and do nothing.
  host_defaults = { BATCH_MAX_BYTES = "2097152", SIMULATE_UNKNOWN_ACTIONS = "false" }

  host_environment = merge(local.host_defaults, var.settings, {
    DATABASE_URL_FILE = "/run/secrets/database-url"
    DATABASE_CA_FILE  = "/run/secrets/rds-ca.pem"
    REDIS_URL_FILE    = "/run/secrets/redis-url"
  })

  # The compose file of the repository is for one's own machine, where the API asks nobody for a key.
  api_environment = merge(
    { AUTH = var.auth_mode, ALLOWED_HOSTS = lookup(var.settings, "ALLOWED_HOSTS", "") },
    local.needs_keys ? { CLIENTS_DIR = "/run/secrets/clients" } : {},
  )

  host_secrets_mount = {
    type      = "bind"
    source    = local.secrets_directory
    target    = "/run/secrets"
    read_only = true
    # After a crash, the Docker engine starts containers before the secrets exist. That start has to fail; it must not
    # create an empty directory that belongs to root.
    bind = { create_host_path = false }
  }

  compose = {
    name = "scheduler"
    services = {
      for name in local.host_services : name => merge(
        {
          for key, value in local.repository_compose.services[name] : key => value
          if !contains(["build", "env_file", "depends_on", "environment", "image", "ports", "command", "mem_limit"], key)
        },
        { mem_limit = "${local.memory_mib[name]}m" },
        name == "redis" ? {
          image = local.repository_compose.services.redis.image
          command = [
            for index, word in local.repository_compose.services.redis.command :
            index > 0 && local.repository_compose.services.redis.command[max(index - 1, 0)] == "--maxmemory" ? "${local.redis_memory_mib}mb" : word
          ]
        } : null,
        name != "redis" ? {
          image   = local.image
          command = local.repository_compose.services[name].command
          environment = merge(
            { for key, value in local.repository_compose.services[name].environment : key => value if !contains(["DATABASE_URL", "REDIS_URL"], key) },
            local.host_environment,
            name == "api" ? local.api_environment : null,
            { NODE_OPTIONS = "--max-old-space-size=${local.heap_mib[name]}" },
          )
          volumes = [local.host_secrets_mount]
        } : null,
        name == "api" ? { ports = ["${local.api_port}:8000"] } : null,
        length(local.host_dependencies[name]) > 0 ? { depends_on = local.host_dependencies[name] } : null,
      )
    }
  }

  compose_text = "# Made by Terraform from the compose.yaml of the repository; changes here last until the host is replaced.\n${yamlencode(local.compose)}"

  host_dependencies = {
    for name in local.host_services : name => {
      for other, condition in try(local.repository_compose.services[name].depends_on, {}) : other => condition if contains(local.host_services, other)
    }
  }

  # Names and addresses, but no secrets: everyone who may describe the instance can read its user data.
  host_settings = {
    region           = var.region
    firstSecret      = local.first_secret
    secretsDirectory = local.secrets_directory
    registry         = split("/", local.image)[0]
    database = {
      host      = aws_db_instance.main.address
      port      = aws_db_instance.main.port
      name      = aws_db_instance.main.db_name
      role      = "${replace(var.name, "-", "_")}_app"
      secretArn = aws_db_instance.main.master_user_secret[0].secret_arn
      caUrl     = "https://truststore.pki.rds.amazonaws.com/${var.region}/${var.region}-bundle.pem"
    }
    redis = {
      url            = local.managed_redis ? "rediss://${aws_elasticache_replication_group.main[0].primary_endpoint_address}:${local.store_ports.redis}/0" : "redis://redis:6379/0"
      tokenSecretArn = var.redis_token_secret_arn
    }
  }

  host_files = {
    "/opt/scheduler/compose.yaml"                       = { mode = "0644", content = local.compose_text }
    "/etc/scheduler/host.json"                          = { mode = "0644", content = jsonencode(local.host_settings) }
    "/usr/local/sbin/scheduler-credentials"             = { mode = "0755", content = file("${path.module}/host/scheduler-credentials.py") }
    "/usr/local/sbin/scheduler-install"                 = { mode = "0755", content = file("${path.module}/host/scheduler-install") }
    "/etc/systemd/system/scheduler.service"             = { mode = "0644", content = file("${path.module}/host/scheduler.service") }
    "/etc/systemd/system/scheduler-credentials.service" = { mode = "0644", content = file("${path.module}/host/scheduler-credentials.service") }
    "/etc/systemd/system/scheduler-credentials.timer"   = { mode = "0644", content = file("${path.module}/host/scheduler-credentials.timer") }
    "/etc/docker/daemon.json"                           = { mode = "0644", content = file("${path.module}/host/docker-daemon.json") }
    "/etc/systemd/journald.conf.d/scheduler.conf"       = { mode = "0644", content = "[Journal]\nSystemMaxUse=100M\n" }
    "/etc/sysctl.d/60-scheduler.conf"                   = { mode = "0644", content = "vm.overcommit_memory = 1\nvm.swappiness = 10\n" }
    "/etc/apt/apt.conf.d/52scheduler"                   = { mode = "0644", content = "Unattended-Upgrade::Automatic-Reboot \"true\";\nUnattended-Upgrade::Automatic-Reboot-Time \"04:00\";\n" }
  }

  cloud_config = {
    swap        = { filename = "/swap.img", size = 2147483648 }
    write_files = [for path, file in local.host_files : { path = path, permissions = file.mode, content = file.content }]
    runcmd      = [["/usr/local/sbin/scheduler-install"]]
  }

  user_data = "#cloud-config\n${yamlencode(local.cloud_config)}"
}
