//! The same for Terraform's provider `aws`.

use super::{Grant, Policy};

/// A user with the policy of its role.
///
/// The policy stands in `jsonencode`: what JSON writes is an expression of HCL, and names with `${` are refused before.
pub(crate) fn terraform_user(grant: &Grant, policy: &Policy) -> String {
    let policy = indented(policy);
    let (label, name) = (format!("dolmen_{}", grant.role.name()), grant.name());
    format!(
        r#"resource "aws_iam_user" "{label}" {{
  name = "{name}"
}}

resource "aws_iam_policy" "{label}" {{
  name   = "{name}"
  policy = jsonencode({policy})
}}

resource "aws_iam_user_policy_attachment" "{label}" {{
  user       = aws_iam_user.{label}.name
  policy_arn = aws_iam_policy.{label}.arn
}}"#
    )
}

/// The bucket with its policy.
pub(crate) fn terraform_bucket(grant: &Grant, policy: &Policy) -> String {
    let policy = indented(policy);
    let (name, days) = (&grant.bucket, grant.default_days);
    let mode = grant.lock.mode();
    format!(
        r#"resource "aws_s3_bucket" "dolmen" {{
  bucket              = "{name}"
  object_lock_enabled = true
}}

resource "aws_s3_bucket_versioning" "dolmen" {{
  bucket = aws_s3_bucket.dolmen.id
  versioning_configuration {{
    status = "Enabled"
  }}
}}

resource "aws_s3_bucket_object_lock_configuration" "dolmen" {{
  bucket = aws_s3_bucket.dolmen.id
  rule {{
    default_retention {{
      mode = "{mode}"
      days = {days}
    }}
  }}
}}

resource "aws_s3_bucket_public_access_block" "dolmen" {{
  bucket                  = aws_s3_bucket.dolmen.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}}

resource "aws_s3_bucket_policy" "dolmen" {{
  bucket = aws_s3_bucket.dolmen.id
  policy = jsonencode({policy})
}}"#
    )
}

/// Indented as what it stands in, its first line apart.
fn indented(policy: &Policy) -> String {
    policy.to_text().replace('\n', "\n  ")
}
