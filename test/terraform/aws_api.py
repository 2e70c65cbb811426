"""Runs moto's AWS API with additions that Terraform's provider needs. Needs moto[server]==5.2.5.

    python aws_api.py -H 127.0.0.1 -p 5000

Terraform and SDKs need AWS_ENDPOINT_URL=http://127.0.0.1:5000 and any access key.
"""
import json
import os
import secrets
import sys
from datetime import datetime, timezone

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

from moto.budgets.responses import BudgetsResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.elasticache import models as elasticache
from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.responses import ElastiCacheResponse
from moto.ec2.models.instances import Instance
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses.instances import InstanceResponse
from moto.rds.models import DBParameterGroup, MasterUserSecret
from moto.server import main
from moto.ssm.models import Parameter, ParameterDict

# The newest Ubuntu image that moto knows. Its age does not matter, because nothing boots it.
UBUNTU_IMAGE = "ami-785db401"


def add_budgets() -> None:
    """Adds tags, subscribers and updates of budgets, which the provider uses and moto lacks."""
    tags: dict[str, list] = {}
    create_budget = BudgetsResponse.create_budget

    def create_budget_with_tags(self):
        name = self._get_param("Budget")["BudgetName"]
        arn = f"arn:aws:budgets::{self._get_param('AccountId')}:budget/{name}"
        tags[arn] = self._get_param("ResourceTags", [])
        return create_budget(self)

    def describe_subscribers(self):
        budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
        wanted = {key: str(value) for key, value in self._get_param("Notification").items() if key != "NotificationState"}
        for notification in budget.notifications:
            if all(str(notification.details.get(key)) == value for key, value in wanted.items()):
                return json.dumps({"Subscribers": notification.subscribers})
        return json.dumps({"Subscribers": []})

    def update_budget(self):
        changed = self._get_param("NewBudget")
        self.backend.budgets[self._get_param("AccountId")][changed["BudgetName"]].budget.update(changed)
        return json.dumps({})

    def tag_resource(self):
        tags[self._get_param("ResourceARN")] = self._get_param("ResourceTags", [])
        return json.dumps({})

    def list_tags(self):
        return json.dumps({"ResourceTags": tags.get(self._get_param("ResourceARN"), [])})

    BudgetsResponse.create_budget = create_budget_with_tags
    BudgetsResponse.describe_subscribers_for_notification = describe_subscribers
    BudgetsResponse.update_budget = update_budget
    BudgetsResponse.tag_resource = tag_resource
    BudgetsResponse.list_tags_for_resource = list_tags


def add_elasticache() -> None:
    """Makes members of replication groups clusters with nodes and security groups, and deletes groups completely."""
    cluster_class, backend = elasticache.CacheCluster, elasticache.ElastiCacheBackend
    create_group, delete_group = backend.create_replication_group, backend.delete_replication_group
    parameters = [name for name in cluster_class.__init__.__annotations__ if name != "return"]

    cluster_class.security_groups = property(
        lambda self: [{"SecurityGroupId": group, "Status": "active"} for group in self.security_group_ids]
    )
    cluster_class.cache_nodes = property(
        lambda self: [
            {
                "CacheNodeId": "0001",
                "CacheNodeStatus": "available",
                "CustomerAvailabilityZone": self.preferred_availability_zone or f"{self.region_name}a",
                "Endpoint": {"Address": f"{self.cache_cluster_id}.cache.local", "Port": self.port},
            }
        ]
    )

    def create_replication_group(self, **given):
        # moto takes the number of nodes only as the number of replicas per node group.
        replicas = given.get("replicas_per_node_group") or (given.get("num_cache_clusters") or 1) - 1
        group = create_group(self, **{**given, "replicas_per_node_group": replicas})
        for member in group.member_clusters:
            values = dict.fromkeys(parameters)
            values.update({key: value for key, value in given.items() if key in values})
            values.update(
                account_id=self.account_id,
                region_name=self.region_name,
                cache_cluster_id=member,
                log_delivery_configurations=[],
            )
            cluster = cluster_class(**values)
            cluster.cache_cluster_status = "available"
            cluster.at_rest_encryption_enabled = group.at_rest_encryption_enabled
            cluster.transit_encryption_enabled = group.transit_encryption_enabled
            self.cache_clusters[member] = cluster
        return group

    def delete_replication_group(self, replication_group_id, *rest, **named):
        group = delete_group(self, replication_group_id, *rest, **named)
        for member in group.member_clusters:
            self.cache_clusters.pop(member, None)
        self.replication_groups.pop(replication_group_id, None)
        return group

    def delete_cache_subnet_group(self):
        self.elasticache_backend.cache_subnet_groups.pop(self._get_param("CacheSubnetGroupName"), None)
        return EmptyResult()

    backend.create_replication_group = create_replication_group
    backend.delete_replication_group = delete_replication_group
    ElastiCacheResponse.delete_cache_subnet_group = delete_cache_subnet_group


def add_cache_parameter_groups() -> None:
    """Adds cache parameter groups, which moto lacks. The provider creates one, changes it and reads the values back."""
    groups: dict[str, dict] = {}
    values: dict[str, dict[str, str]] = {}

    def create(self):
        name = self._get_param("CacheParameterGroupName")
        arn = f"arn:aws:elasticache:{self.region}:{self.current_account}:parametergroup:{name}"
        groups[name] = {
            "CacheParameterGroupName": name,
            "CacheParameterGroupFamily": self._get_param("CacheParameterGroupFamily"),
            "Description": self._get_param("Description"),
            "IsGlobal": False,
            "ARN": arn,
        }
        values[name] = {}
        self.elasticache_backend.add_tags_to_resource(arn, self._get_param("Tags", []))
        return ActionResult({"CacheParameterGroup": groups[name]})

    def existing(self) -> str:
        name = self._get_param("CacheParameterGroupName")
        if name not in groups:
            raise CacheParameterGroupNotFound(f"CacheParameterGroup {name} not found.")
        return name

    def describe(self):
        return ActionResult({"CacheParameterGroups": [groups[existing(self)]]})

    def modify(self):
        name = existing(self)
        for parameter in self._get_param("ParameterNameValues", []):
            values[name][parameter["ParameterName"]] = parameter["ParameterValue"]
        return ActionResult({"CacheParameterGroupName": name})

    def describe_parameters(self):
        found = values[existing(self)].items()
        return ActionResult({"Parameters": [{"ParameterName": key, "ParameterValue": value, "Source": "user"} for key, value in found]})

    def delete(self):
        groups.pop(existing(self))
        return EmptyResult()

    backend = elasticache.ElastiCacheBackend
    list_tags = backend.list_tags_for_resource

    def list_tags_of_anything(self, arn):
        known = ":parametergroup:" in arn
        return self.tagging_service.list_tags_for_resource(arn) if known else list_tags(self, arn)

    backend.list_tags_for_resource = list_tags_of_anything
    ElastiCacheResponse.create_cache_parameter_group = create
    ElastiCacheResponse.describe_cache_parameter_groups = describe
    ElastiCacheResponse.modify_cache_parameter_group = modify
    ElastiCacheResponse.describe_cache_parameters = describe_parameters
    ElastiCacheResponse.delete_cache_parameter_group = delete


class CacheParameterGroupNotFound(ElastiCacheException):
    code = "CacheParameterGroupNotFound"


def add_instance_groups() -> None:
    """Gives an instance the security groups of its network interface, and keeps them when another attribute changes."""
    prep_nics = Instance.prep_nics
    change_groups = InstanceResponse._security_grp_instance_attribute_handler

    def prep_nics_and_groups(self, *given, **named):
        prep_nics(self, *given, **named)
        if not self.security_groups:
            self.security_groups = list(self.nics[0].group_set)

    def change_groups_that_are_named(self):
        return change_groups(self) if self._get_param("Groups") else True

    Instance.prep_nics = prep_nics_and_groups
    InstanceResponse._security_grp_instance_attribute_handler = change_groups_that_are_named


def add_rule_descriptions() -> None:
    """Returns the description of a rule that refers to a group: moto stores it, but does not return it."""
    SecurityGroupRule.description = property(
        lambda self: self.ip_range.get("Description") or (self.source_group or {}).get("Description")
    )


def add_rds_secrets() -> None:
    """Puts the requested master's name and a random password into each master's secret."""

    def generate_secret_string(self) -> str:
        return json.dumps({"username": self.resource.master_username, "password": secrets.token_urlsafe(24)})

    MasterUserSecret._generate_secret_string = generate_secret_string


def add_rds_parameters() -> None:
    """Marks changed parameters with the source `user`, because the provider asks for parameters with this source."""
    update_parameters = DBParameterGroup.update_parameters

    def update_user_parameters(self, changed):
        update_parameters(self, [{**parameter, "Source": "user"} for parameter in changed])

    DBParameterGroup.update_parameters = update_user_parameters


def add_ubuntu_images() -> None:
    """Adds Canonical's public parameters for Ubuntu images."""
    check_loading_status = ParameterDict._check_loading_status

    def check_with_canonical(self, key):
        check_loading_status(self, key)
        name = str(key or "")
        if name.startswith("/aws/service/canonical/ubuntu/server/") and not dict.__contains__(self, name):
            image = Parameter(
                account_id=self.account_id,
                name=name,
                value=UBUNTU_IMAGE,
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=datetime.now(timezone.utc).timestamp(),
                version=1,
                data_type="aws:ec2:image",
            )
            dict.__setitem__(self, name, [image])

    ParameterDict._check_loading_status = check_with_canonical


if __name__ == "__main__":
    add_budgets()
    add_elasticache()
    add_cache_parameter_groups()
    add_instance_groups()
    add_rule_descriptions()
    add_rds_secrets()
    add_rds_parameters()
    add_ubuntu_images()
    main(sys.argv[1:])
