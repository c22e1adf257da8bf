//! `dolmen access print`

use clap::{Args, Subcommand};
use dolmen_core::lease::{Asked, ExtensionCost, Terms};

use super::App;
use crate::access::{
    BUCKET, Grant, LockName, PREFIX, Provider, Role, WRITER, bucket_policy, explain, key_line,
    parse_bucket, parse_prefix, parse_writer, role_policy, terraform_bucket, terraform_user,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::units::{Seconds, parse_duration};

/// What to do about rights at a provider.
#[derive(Debug, Args)]
pub(crate) struct AccessArgs {
    #[command(subcommand)]
    command: AccessCommand,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    /// Print the least rights that a role needs: the policy, or the line that makes a key
    Print(Box<PrintArgs>),
}

/// Which rights.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
struct PrintArgs {
    /// Who stores
    #[arg(long, value_enum)]
    provider: Provider,
    /// Whom the credential is for
    #[arg(long, value_enum)]
    role: Role,
    /// The bucket [default: BUCKET, to be filled in]
    #[arg(long, value_name = "NAME", value_parser = parse_bucket)]
    bucket: Option<String>,
    /// The folder in it; '' where the repository fills the bucket [default: PREFIX, to be filled in]
    #[arg(long, value_name = "PATH", value_parser = parse_prefix)]
    prefix: Option<String>,
    /// The signer in whose folders it writes [default: WRITER, to be filled in]
    #[arg(long, value_name = "ID", value_parser = parse_writer)]
    writer: Option<String>,
    /// How the repository locks what is needed
    #[arg(long, value_enum, default_value = "compliance")]
    lock: LockName,
    /// The protection period
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30d")]
    protect: Seconds,
    /// The generation [default: the smaller of half the protection period and 7d, or 14d on AWS]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    generation: Option<Seconds>,
    /// How often maintenance runs [default: a quarter of the generation, at most 1d]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Seconds>,
    /// For backup: let it set and extend locks itself, instead of leaving the first one to the bucket's default retention
    #[arg(long)]
    client_retention: bool,
    /// For backup: let it read the packs of others, whose chunks it shares in one domain
    #[arg(long)]
    shared_domain: bool,
    /// For restore: let it write attestations (check --attest)
    #[arg(long)]
    attest: bool,
    /// For AWS: do not require that puts cover nothing
    #[arg(long)]
    allow_cover: bool,
    /// For AWS and owner: print the bucket's policy, which holds for everybody
    #[arg(long)]
    bucket_policy: bool,
    /// For AWS: print it for Terraform, with the user or the bucket
    #[arg(long)]
    terraform: bool,
}

/// Prints rights.
pub(super) fn run(app: &App, args: &AccessArgs) -> Outcome {
    let AccessCommand::Print(args) = &args.command;
    args.refuse_what_does_not_fit()?;
    let grant = args.grant()?;
    let text = if grant.provider == Provider::B2 {
        key_line(&grant)
    } else if args.bucket_policy {
        let policy = bucket_policy(&grant);
        if args.terraform {
            terraform_bucket(&grant, &policy)
        } else {
            policy.to_text()
        }
    } else {
        let policy = role_policy(&grant);
        if args.terraform {
            terraform_user(&grant, &policy)
        } else {
            policy.to_text()
        }
    };
    app.output.line(text);
    for line in explain(&grant, args.bucket_policy) {
        app.output.notice(line);
    }
    Ok(Exit::Done)
}

impl PrintArgs {
    fn refuse_what_does_not_fit(&self) -> Outcome<()> {
        let is_aws = self.provider == Provider::Aws;
        let refused = [
            (
                self.terraform && !is_aws,
                "--terraform is for --provider aws",
            ),
            (
                self.allow_cover && !is_aws,
                "--allow-cover is for --provider aws: others cannot refuse it",
            ),
            (
                self.bucket_policy && !(is_aws && self.role == Role::Owner),
                "--bucket-policy is for --provider aws --role owner",
            ),
            (
                self.client_retention && self.role != Role::Backup,
                "--client-retention is for --role backup",
            ),
            (
                self.shared_domain && self.role != Role::Backup,
                "--shared-domain is for --role backup",
            ),
            (
                self.attest && self.role != Role::Restore,
                "--attest is for --role restore",
            ),
            (
                self.lock == LockName::Hide && self.provider != Provider::B2,
                "--lock hide is for --provider b2",
            ),
        ];
        match refused.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, why)) => Err(Failure::usage(why)),
            None => Ok(()),
        }
    }

    fn grant(&self) -> Outcome<Grant> {
        let or = |given: &Option<String>, default: &str| {
            given.clone().unwrap_or_else(|| default.to_owned())
        };
        Ok(Grant {
            provider: self.provider,
            role: self.role,
            bucket: or(&self.bucket, BUCKET),
            prefix: or(&self.prefix, PREFIX),
            writer: or(&self.writer, WRITER),
            lock: self.lock,
            default_days: self.default_days()?,
            client_retention: self.client_retention,
            shared_domain: self.shared_domain,
            attests: self.attest,
            may_cover: self.allow_cover,
        })
    }

    /// L + M + G in whole days: the longest lock that is ever needed, and what the bucket must give by itself.
    fn default_days(&self) -> Outcome<u64> {
        let asked = Asked {
            protect_seconds: self.protect.0,
            generation_seconds: self.generation.map(|time| time.0),
            interval_seconds: self.every.map(|time| time.0),
            extension: match self.provider {
                Provider::Aws => ExtensionCost::Paid,
                Provider::B2 | Provider::Wasabi | Provider::Minio => ExtensionCost::Free,
            },
        };
        let terms =
            Terms::with_defaults(&asked).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(terms.longest_lock_days())
    }
}
