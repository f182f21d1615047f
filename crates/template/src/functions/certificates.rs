//! sprig's certificates: a certificate authority, certificates that sign themselves or are signed by one.

use aws_lc_rs::rsa::KeySize;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keys::{PrivateKey, RSA_2048, pem, pem_block};
use super::random::fill;
use super::{Args, Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::Text;
use crate::time::Time;
use crate::value::{List, Value};

/// How often a name is copied on the way into a certificate: as asked for, in DER twice, in PEM.
const COPIES: usize = 6;

/// A certificate with its key, both as PEM.
pub struct Certificate {
    cert: Text,
    key: Text,
}

impl Certificate {
    /// The fields by their names.
    pub(crate) fn fields(&self) -> [(&'static str, &Text); 2] {
        [("Cert", &self.cert), ("Key", &self.key)]
    }
}

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Certificate as Authority, Int, List, Text};
    let f = Function::plain;
    all.extend([
        f("buildCustomCert", &[Text, Text], |meter, args| {
            meter.memory(args.text(0).len() + args.text(1).len())?;
            let cert = STANDARD.decode(args.text(0)).map_err(|_| "unable to decode base64 certificate")?;
            let key = STANDARD.decode(args.text(1)).map_err(|_| "unable to decode base64 private key")?;
            let key = crate::text::Text::from(key);
            let block = pem_block(&cert).ok_or("unable to decode certificate")?;
            x509_parser::parse_x509_certificate(&block.der).map_err(|_| "error parsing certificate")?;
            PrivateKey::from_pem(key.expose())?.key_pair(meter)?;
            Ok(Value::Certificate(Arc::new(Certificate { cert: cert.into(), key })))
        }),
        f("genCA", &[Text, Int], |meter, args| {
            let key = new_key(meter)?;
            authority(meter, args, &key)
        }),
        f("genCAWithKey", &[Text, Int, Text], |meter, args| {
            let key = PrivateKey::from_pem(args.text(2))?;
            authority(meter, args, &key)
        }),
        f("genSelfSignedCert", &[Text, List, List, Int], |meter, args| {
            let key = new_key(meter)?;
            self_signed(meter, args, &key)
        }),
        f("genSelfSignedCertWithKey", &[Text, List, List, Int, Text], |meter, args| {
            let key = PrivateKey::from_pem(args.text(4))?;
            self_signed(meter, args, &key)
        }),
        f("genSignedCert", &[Text, List, List, Int, Authority], |meter, args| {
            let key = new_key(meter)?;
            signed(meter, args, &key)
        }),
        f("genSignedCertWithKey", &[Text, List, List, Int, Authority, Text], |meter, args| {
            let key = PrivateKey::from_pem(args.text(5))?;
            signed(meter, args, &key)
        }),
    ]);
}

fn new_key(meter: &mut Meter) -> Result<PrivateKey, Failure> {
    meter.steps(RSA_2048)?;
    PrivateKey::rsa(KeySize::Rsa2048)
}

/// `CN DAYS …`
fn authority(meter: &mut Meter, args: &Args<'_>, key: &PrivateKey) -> Result<Value, Failure> {
    let mut params = params(meter, args.utf8(0)?, args.int(1))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let pair = key.key_pair(meter)?;
    finish(meter, || params.self_signed(&pair), key)
}

/// `CN IPS NAMES DAYS …`
fn self_signed(meter: &mut Meter, args: &Args<'_>, key: &PrivateKey) -> Result<Value, Failure> {
    let params = leaf(meter, args)?;
    let pair = key.key_pair(meter)?;
    finish(meter, || params.self_signed(&pair), key)
}

/// `CN IPS NAMES DAYS CA …`
fn signed(meter: &mut Meter, args: &Args<'_>, key: &PrivateKey) -> Result<Value, Failure> {
    let Value::Certificate(authority) = args.value(4) else { return Err("no certificate authority is given".into()) };
    let issuer_key = PrivateKey::from_pem(authority.key.expose())?.key_pair(meter)?;
    let block = pem_block(authority.cert.expose()).ok_or("unable to decode certificate")?;
    let issuer = Issuer::<KeyPair>::from_ca_cert_der(&block.der.as_slice().into(), issuer_key)
        .map_err(|_| "error parsing the certificate of the authority")?;
    let mut params = leaf(meter, args)?;
    params.use_authority_key_identifier_extension = true;
    let pair = key.key_pair(meter)?;
    finish(meter, || params.signed_by(&pair, &issuer), key)
}

fn finish(
    meter: &mut Meter,
    sign: impl FnOnce() -> Result<rcgen::Certificate, rcgen::Error>,
    key: &PrivateKey,
) -> Result<Value, Failure> {
    let start = Instant::now();
    let made = sign().map_err(|_| "error creating certificate")?;
    meter.took(start)?;
    let cert = pem("CERTIFICATE", made.der());
    let key = key.to_pem();
    meter.memory(cert.len() + key.len())?;
    Ok(Value::Certificate(Arc::new(Certificate { cert: Text::from(cert.as_str()), key })))
}

fn leaf(meter: &mut Meter, args: &Args<'_>) -> Result<CertificateParams, Failure> {
    let mut params = params(meter, args.utf8(0)?, args.int(3))?;
    // A list may have one string a thousand times, and a certificate has copies.
    let mut text = |value: &Value| match value {
        Value::Text(text) => {
            meter.memory(text.len().saturating_mul(COPIES))?;
            text.as_str().map(str::to_owned).ok_or_else(|| Failure::from("a name is not UTF-8"))
        }
        _ => Err("an address or name is not a string".into()),
    };
    for value in items(args, 2) {
        let name = text(value)?.try_into().map_err(|_| "a DNS name is not ASCII")?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    for value in items(args, 1) {
        let address = text(value)?.parse().map_err(|_| "error parsing ip")?;
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    Ok(params)
}

fn items<'a>(args: &Args<'a>, index: usize) -> &'a [Value] {
    if let Value::List(list) = args.value(index) {
        let list: &List = list;
        &list.items
    } else {
        &[]
    }
}

/// Valid from now on, for server and client.
fn params(meter: &mut Meter, common_name: &str, days: i64) -> Result<CertificateParams, Failure> {
    meter.memory(common_name.len().saturating_mul(COPIES))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Dates from before 1970 or after 9999 have no place in a certificate.
    let now = Time::now().seconds;
    let end = days.checked_mul(86_400).and_then(|span| now.checked_add(span));
    let end =
        end.filter(|end| (0..253_402_300_800).contains(end)).ok_or("the days lead to no date of a certificate")?;
    let moment = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
    params.not_before = moment(now);
    params.not_after = moment(end);
    let mut serial = [0; 16];
    fill(&mut serial)?;
    // A serial number is positive.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}
