//! Who asks.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::identity::IdentityCache;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_s3::config::Credentials;

use crate::client;

/// Until keys are given anew: a person may have to say yes.
const KEYS_ANEW_MAX: Duration = Duration::from_secs(120);

/// Who asks.
#[derive(Debug, Clone, Default)]
pub enum Identity {
    /// Whom AWS's own chain of variables, files and services names.
    #[default]
    Chain,
    /// Who has these keys.
    Keys(Credentials),
    /// Who is given keys that end, and then others.
    Given(Arc<dyn KeySource>),
    /// Whom a profile in AWS's own files names.
    Profile {
        /// Its name.
        name: String,
        /// The file in place of `~/.aws/config`.
        config_file: Option<PathBuf>,
        /// The file in place of `~/.aws/credentials`.
        credentials_file: Option<PathBuf>,
    },
    /// Who takes on a role with a token.
    WebIdentity {
        /// The file that holds the token.
        token_file: PathBuf,
        /// The role.
        role_arn: String,
        /// What the role calls the session.
        session_name: String,
    },
}

/// Gives keys, and others when these have ended.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// Returns the keys to use until they expire. Blocks. An error is shown as it is.
    fn keys(&self) -> Result<Credentials, Box<dyn Error + Send + Sync>>;
}

impl Identity {
    /// Whether there is anybody: AWS's own chain may name nobody. Any other failure is told by whoever asks.
    ///
    /// Cost: no request to the store.
    pub(crate) async fn is_known(&self) -> bool {
        let Self::Chain = self else {
            return true;
        };
        let shared = client::defaults().load().await;
        let Some(provider) = shared.credentials_provider() else {
            return false;
        };
        !matches!(
            provider.provide_credentials().await,
            Err(CredentialsError::CredentialsNotLoaded(_))
        )
    }

    /// Has requests signed by whoever asks. Blocks for reading files.
    pub(crate) async fn load(&self, loader: ConfigLoader) -> ConfigLoader {
        match self {
            Self::Chain => loader,
            Self::Keys(keys) => loader.credentials_provider(keys.clone()),
            Self::Given(source) => loader
                .credentials_provider(Given(Arc::clone(source)))
                .identity_cache(IdentityCache::lazy().load_timeout(KEYS_ANEW_MAX).build()),
            Self::Profile {
                name,
                config_file,
                credentials_file,
            } => {
                let files = EnvConfigFiles::builder();
                let files = match config_file {
                    Some(file) => files.with_file(EnvConfigFileKind::Config, file),
                    None => files.include_default_config_file(true),
                };
                let files = match credentials_file {
                    Some(file) => files.with_file(EnvConfigFileKind::Credentials, file),
                    None => files.include_default_credentials_file(true),
                };
                let provider = ProfileFileCredentialsProvider::builder()
                    .configure(&ProviderConfig::with_default_region().await)
                    .profile_name(name)
                    .profile_files(files.build());
                loader.credentials_provider(Named(provider.build()))
            }
            Self::WebIdentity {
                token_file,
                role_arn,
                session_name,
            } => {
                let provider = WebIdentityTokenCredentialsProvider::builder()
                    .configure(&ProviderConfig::with_default_region().await)
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: token_file.clone(),
                        role_arn: role_arn.clone(),
                        session_name: session_name.clone(),
                    });
                loader.credentials_provider(provider.build())
            }
        }
    }
}

/// A profile that was named: if it is not there, that is no reason to look for somebody else.
#[derive(Debug)]
struct Named(ProfileFileCredentialsProvider);

impl ProvideCredentials for Named {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let found = self.0.provide_credentials().await;
            found.map_err(|error| match error {
                CredentialsError::CredentialsNotLoaded(_) => {
                    CredentialsError::invalid_configuration(error)
                }
                other => other,
            })
        })
    }
}

/// A source as the SDK asks it.
#[derive(Debug)]
struct Given(Arc<dyn KeySource>);

impl ProvideCredentials for Given {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let source = Arc::clone(&self.0);
        future::ProvideCredentials::new(async {
            let keys = tokio::task::spawn_blocking(move || source.keys()).await;
            let keys = keys.map_err(CredentialsError::unhandled)?;
            keys.map_err(CredentialsError::provider_error)
        })
    }
}
