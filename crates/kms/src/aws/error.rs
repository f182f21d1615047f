//! What AWS answers, as something to act on.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use bulla_core::KeyErrorKind;

use super::clients::Account;
use crate::failure::{Failure, causes, printable};

/// The failure of `operation`.
pub(super) fn failure<E>(operation: &str, error: &SdkError<E>, account: &Account) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(credentials) = find::<CredentialsError>(error) {
        return no_credentials(credentials, account);
    }
    match error {
        SdkError::ServiceError(answer) => {
            refused(&format!("AWS KMS refused {operation}"), answer.raw().status().as_u16(), answer.err())
        }
        SdkError::TimeoutError(_) => timed_out(operation, account),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => timed_out(operation, account),
        SdkError::DispatchFailure(_) => {
            no_connection(&format!("AWS KMS in {} could not be reached for {operation}", account.region), error)
        }
        _ => Failure::new(KeyErrorKind::Other, format!("AWS KMS, {operation}: {}", causes(error))),
    }
}

/// Nothing came back within the time that an operation may take.
pub(super) fn too_slow(operation: &str, account: &Account, limit: Duration) -> Failure {
    let what = format!("no answer to {operation} from AWS in {} within {limit:?}", account.region);
    Failure::new(KeyErrorKind::Timeout, what).hint(NETWORK)
}

/// An answer of success that lacks what was asked for.
pub(super) fn empty(operation: &str) -> Failure {
    Failure::new(KeyErrorKind::Other, format!("AWS KMS answered {operation} without a result"))
}

const NETWORK: &str =
    "check the network, HTTPS_PROXY, and AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_KMS if one of them is set";

fn timed_out(operation: &str, account: &Account) -> Failure {
    let what = format!("AWS KMS in {} did not answer {operation} in time", account.region);
    Failure::new(KeyErrorKind::Timeout, what).hint(NETWORK)
}

fn no_connection(what: &str, error: &(dyn Error + 'static)) -> Failure {
    Failure::new(KeyErrorKind::Unreachable, format!("{what}: {}", causes(error))).hint(NETWORK)
}

/// A service's own answer: its code says what it is about, or else its status (what stands between may answer too).
fn refused(what: &str, status: u16, error: &impl ProvideErrorMetadata) -> Failure {
    let code = error.code().map_or_else(|| format!("HTTP status {status}"), printable);
    let mut text = format!("{what}: {code}");
    if let Some(message) = error.message() {
        let _ = write!(text, ": {}", printable(message));
    }
    let (kind, hint) = match (meaning(&code), status) {
        ((KeyErrorKind::Other, _), 401 | 403) => meaning("AccessDenied"),
        ((KeyErrorKind::Other, _), 500..) => meaning("ServiceUnavailable"),
        (meaning, _) => meaning,
    };
    let failure = Failure::new(kind, text);
    if hint.is_empty() { failure } else { failure.hint(hint) }
}

/// Kinds and hints by error code, from
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors> and
/// <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>. Some services spell them without `Exception`.
fn meaning(code: &str) -> (KeyErrorKind, &'static str) {
    match code.strip_suffix("Exception").unwrap_or(code) {
        "AccessDenied" | "NotAuthorized" => (
            KeyErrorKind::Denied,
            "allow kms:Encrypt and kms:Decrypt on this key to the caller, in the key's policy or by IAM; a role to assume is \
             written ARN+ROLE_ARN",
        ),
        "ExpiredToken" | "RequestExpired" | "TokenRefreshRequired" => {
            (KeyErrorKind::Denied, "the AWS credentials have expired: get new ones (aws sso login, or new variables)")
        }
        "UnrecognizedClient"
        | "InvalidClientTokenId"
        | "InvalidSignature"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "InvalidToken"
        | "InvalidAccessKeyId"
        | "AuthFailure"
        | "OptInRequired" => (
            KeyErrorKind::Denied,
            "AWS does not accept the credentials: check the access key, its secret, the session token and the clock",
        ),
        "NotFound" => (
            KeyErrorKind::NotFound,
            "check the ARN: account, region and key id or alias; a key that exists may also be hidden from other accounts",
        ),
        "Disabled" => (KeyErrorKind::Denied, "the key is disabled: aws kms enable-key --key-id ARN"),
        "KMSInvalidState" | "KMSInvalidStateFault" => (
            KeyErrorKind::Denied,
            "the key cannot be used in its present state: if its deletion is pending, aws kms cancel-key-deletion",
        ),
        "InvalidCiphertext" => (
            KeyErrorKind::BadCiphertext,
            "the wrapped key is damaged, was made by another key, or its encryption context was changed in the file",
        ),
        "IncorrectKey" => (KeyErrorKind::BadCiphertext, "another KMS key made this wrapped key"),
        "InvalidKeyUsage" | "Validation" | "InvalidArn" | "InvalidParameterValue" => (
            KeyErrorKind::BadConfig,
            "the key must be a symmetric one with key usage ENCRYPT_DECRYPT, and the ARN must be well formed",
        ),
        "Throttling" | "LimitExceeded" | "KeyUnavailable" | "DependencyTimeout" | "KMSInternal"
        | "ServiceUnavailable" | "InternalFailure" => (KeyErrorKind::Other, "try again: AWS KMS is busy or in trouble"),
        _ => (KeyErrorKind::Other, ""),
    }
}

fn no_credentials(error: &CredentialsError, account: &Account) -> Failure {
    if let Some(failure) = role_refused::<AssumeRoleError>(error, account)
        .or_else(|| role_refused::<AssumeRoleWithWebIdentityError>(error, account))
    {
        return failure;
    }
    let whose = account.profile.as_ref().map_or_else(String::new, |profile| format!(" of profile `{profile}`"));
    match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            let what = match &account.profile {
                Some(profile) => format!(
                    "no AWS credentials found: looked in profile `{profile}`, container credentials and instance metadata"
                ),
                None => "no AWS credentials found: looked in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile \
                         (AWS_PROFILE or default), AWS_WEB_IDENTITY_TOKEN_FILE, container credentials and instance metadata"
                    .to_owned(),
            };
            Failure::new(KeyErrorKind::NotFound, what)
                .hint("log in (aws sso login), or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        }
        CredentialsError::ProviderTimedOut(_) => {
            Failure::new(KeyErrorKind::Timeout, format!("getting the AWS credentials{whose}: {}", causes(error)))
                .hint("set AWS_EC2_METADATA_DISABLED=true outside of EC2")
        }
        CredentialsError::InvalidConfiguration(_) => {
            Failure::new(KeyErrorKind::BadConfig, format!("the AWS credentials{whose}: {}", causes(error)))
                .hint("check ~/.aws/config and ~/.aws/credentials")
        }
        _ => Failure::new(KeyErrorKind::Denied, format!("getting the AWS credentials{whose}: {}", causes(error)))
            .hint("if they are of SSO: aws sso login"),
    }
}

/// The failure, if assuming a role was it.
fn role_refused<E>(error: &CredentialsError, account: &Account) -> Option<Failure>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let error = find::<SdkError<E>>(error)?;
    let role = account.role.as_deref().unwrap_or("the role of the profile or web identity");
    let doing = format!("assuming {role}");
    Some(match error {
        SdkError::ServiceError(answer) => {
            let failure = refused(&format!("{doing}: AWS STS refused"), answer.raw().status().as_u16(), answer.err());
            if failure.kind == KeyErrorKind::Denied {
                failure.hint("the role's trust policy must name the caller, who must be allowed sts:AssumeRole on it")
            } else {
                failure
            }
        }
        SdkError::TimeoutError(_) => {
            Failure::new(KeyErrorKind::Timeout, format!("{doing}: AWS STS did not answer in time")).hint(NETWORK)
        }
        // The base credentials, without which no role is assumed.
        _ => match find_below::<CredentialsError>(error) {
            Some(base) => no_credentials(base, &Account { role: None, ..account.clone() }),
            None => no_connection(&format!("{doing}: AWS STS could not be reached"), error),
        },
    })
}

/// The first error of type `T` among an error and its causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn find_below<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    find(error.source()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_the_same_with_and_without_exception() {
        assert_eq!(meaning("AccessDenied").0, KeyErrorKind::Denied);
        assert_eq!(meaning("AccessDeniedException").0, KeyErrorKind::Denied);
        assert_eq!(meaning("ExpiredTokenException").0, KeyErrorKind::Denied);
        assert_eq!(meaning("InvalidCiphertextException").0, KeyErrorKind::BadCiphertext);
        assert_eq!(meaning("NeverHeardOf").0, KeyErrorKind::Other);
    }
}
