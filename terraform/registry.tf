resource "aws_ecr_repository" "main" {
  #checkov:skip=CKV_AWS_136:The key of the service encrypts it; a key of one's own costs 1 USD a month
  name = var.name
  # A tag that could be moved would make two hosts with the same configuration run different code.
  image_tag_mutability = "IMMUTABLE"
  # Or terraform destroy would fail on the images, and they would go on costing.
  force_delete = true

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "main" {
  repository = aws_ecr_repository.main.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep five images, so that the repository stays small"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 5 }
      action       = { type = "expire" }
    }]
  })
}
