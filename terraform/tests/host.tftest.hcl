# Checks the compose file of the host: it is the repository's file without PostgreSQL, which RDS replaces.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "it_is_the_repositorys_file_without_postgresql" {
  assert {
    condition     = toset(keys(local.compose.services)) == setsubtract(keys(yamldecode(file("../compose.yaml")).services), ["postgres"])
    error_message = "the file has every service of the repository's compose file except PostgreSQL"
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : !contains(keys(try(service.depends_on, {})), "postgres")])
    error_message = "no service depends on a service that does not exist"
  }
  assert {
    condition     = alltrue([for name in ["api", "worker", "reclaimer"] : local.compose.services[name].depends_on.migrate.condition == "service_completed_successfully"])
    error_message = "migrations run before anything starts"
  }
  assert {
    condition = alltrue([
      for name, service in local.compose.services :
      service.command == yamldecode(file("../compose.yaml")).services[name].command if name != "redis"
    ])
    error_message = "the commands are the repository's"
  }
  assert {
    condition     = contains(local.compose.services.reclaimer.command, "reclaimer")
    error_message = "without a reclaimer, the tasks of a dead worker would never run again"
  }
  assert {
    condition     = strcontains(local.user_data, "/opt/scheduler/compose.yaml")
    error_message = "cloud-init writes the compose file"
  }
}

run "nothing_is_built_there" {
  assert {
    condition     = alltrue([for service in values(local.compose.services) : !contains(keys(service), "build") && !contains(keys(service), "env_file")])
    error_message = "1 GiB of memory is not enough for a build"
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : service.image == local.image if name != "redis"])
    error_message = "all processes use the same image"
  }
}

run "it_fits_one_gibibyte" {
  assert {
    condition     = sum([for name, service in local.compose.services : tonumber(trimsuffix(service.mem_limit, "m")) if name != "migrate"]) <= 900 - 200
    error_message = "the engine and its shims need about 200 MiB in addition to the containers"
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : local.heap_mib[name] < local.memory_mib[name] - 60 if name != "redis"])
    error_message = "a process needs more memory than its heap"
  }
  assert {
    condition     = join(" ", local.compose.services.redis.command) == replace(join(" ", yamldecode(file("../compose.yaml")).services.redis.command), "/--maxmemory [0-9]+mb/", "--maxmemory 64mb")
    error_message = "Redis gets a smaller limit, and nothing else changes"
  }
  assert {
    condition     = strcontains(join(" ", local.compose.services.redis.command), "--maxmemory-policy noeviction")
    error_message = "Redis must not evict keys"
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : tonumber(service.environment.BATCH_MAX_BYTES) <= 2097152 if name != "redis"])
    error_message = "a batch of 16 MiB needs 340 MiB of memory at its peak"
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : service.environment.SIMULATE_UNKNOWN_ACTIONS == "false" if name != "redis"])
    error_message = "a task of an unknown action must fail, not complete"
  }
  assert {
    condition     = strcontains(local.user_data, "2147483648")
    error_message = "the host has 2 GiB of swap"
  }
}

run "it_looks_after_itself" {
  assert {
    condition     = strcontains(local.host_files["/etc/apt/apt.conf.d/52scheduler"].content, "Automatic-Reboot \"true\";") && strcontains(local.host_files["/etc/apt/apt.conf.d/52scheduler"].content, "Automatic-Reboot-Time \"04:00\";")
    error_message = "the host reboots at 04:00 if an update needs it"
  }
  assert {
    condition     = jsondecode(local.host_files["/etc/docker/daemon.json"].content)["log-opts"] == { "max-size" = "10m", "max-file" = "3" } && strcontains(local.host_files["/etc/systemd/journald.conf.d/scheduler.conf"].content, "SystemMaxUse=100M")
    error_message = "logs must not fill the disk"
  }
  assert {
    condition     = jsondecode(local.host_files["/etc/docker/daemon.json"].content)["live-restore"]
    error_message = "containers outlive an update of the engine"
  }
  assert {
    condition     = strcontains(local.host_files["/etc/sysctl.d/60-scheduler.conf"].content, "vm.overcommit_memory = 1")
    error_message = "Redis needs this setting"
  }
}

run "containers_get_files_not_values" {
  assert {
    condition = alltrue([
      for name, service in local.compose.services :
      service.environment.DATABASE_URL_FILE == "/run/secrets/database-url" &&
      service.environment.REDIS_URL_FILE == "/run/secrets/redis-url" &&
      service.environment.DATABASE_CA_FILE == "/run/secrets/rds-ca.pem" &&
      !contains(keys(service.environment), "DATABASE_URL") && !contains(keys(service.environment), "REDIS_URL")
      if name != "redis"
    ])
    error_message = "addresses with passwords come from files"
  }
  assert {
    condition = alltrue([
      for name, service in local.compose.services :
      service.volumes[0].source == "/run/scheduler/app" && service.volumes[0].read_only && !service.volumes[0].bind.create_host_path
      if name != "redis"
    ])
    error_message = "the mount is read-only, and the engine must not create an empty directory for it"
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : service.read_only && contains(service.cap_drop, "ALL") && service.restart == (name == "migrate" ? "no" : "unless-stopped") if name != "redis"])
    error_message = "the rights and restart policies of the repository's file stay the same"
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : !contains(keys(service), "ports") if name != "api"]) && local.compose.services.api.ports == ["8000:8000"]
    error_message = "only the API's port is published"
  }
}

run "settings_reach_every_process" {
  variables {
    settings = { RATE_LIMIT_PER_MINUTE = "600" }
  }
  assert {
    condition     = alltrue([for name, service in local.compose.services : service.environment.RATE_LIMIT_PER_MINUTE == "600" if name != "redis"])
    error_message = "additional settings reach every process"
  }
}

run "an_image_from_another_registry" {
  variables {
    image = "ghcr.io/example/scheduler@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  }
  assert {
    condition     = local.compose.services.api.image == var.image && local.host_settings.registry == "ghcr.io"
    error_message = "an image from another registry needs no log-in to ECR"
  }
}

run "the_newer_ubuntu" {
  variables {
    ubuntu_version = "24.04"
  }
  assert {
    condition     = data.aws_ssm_parameter.ubuntu.name == "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    error_message = "24.04's images are published as gp3"
  }
}

run "the_documented_ubuntu" {
  assert {
    condition     = data.aws_ssm_parameter.ubuntu.name == "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
    error_message = "22.04's images are published as gp2"
  }
}
