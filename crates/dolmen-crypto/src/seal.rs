//! Sealed boxes: HPKE with X-Wing (§3).

use core::convert::Infallible;
use core::fmt;

use dolmen_format::{KeyId, SealedBox};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::CryptoError;
use crate::secret::Secret;

type PublicKey = <XWing as hpke::Kem>::PublicKey;
type PrivateKey = <XWing as hpke::Kem>::PrivateKey;
type EncappedKey = <XWing as hpke::Kem>::EncappedKey;

/// A public key: everybody may seal, only the holder of the [`OpenKey`] opens.
#[derive(Debug, Clone)]
pub struct SealKey {
    key: PublicKey,
    id: KeyId,
}

impl SealKey {
    /// Reads a public key of 1216 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        let key = PublicKey::from_bytes(bytes).map_err(|_error| CryptoError::PublicKey)?;
        Ok(Self {
            key,
            id: key_id(bytes),
        })
    }

    /// The public key's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.key.to_bytes().to_vec()
    }

    /// Names the key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Seals `plain`; `random` is used for nothing else.
    pub fn seal(
        &self,
        random: &Secret,
        info: &[u8],
        aad: &[u8],
        plain: &[u8],
    ) -> Result<SealedBox, CryptoError> {
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
                &OpModeS::Base,
                &self.key,
                info,
                plain,
                aad,
                &mut Stream::new(random),
            )
            .map_err(|_error| CryptoError::Encrypt)?;
        Ok(SealedBox {
            key: self.id,
            encapsulated: encapsulated.to_bytes().to_vec(),
            ciphertext,
        })
    }
}

/// A secret key that opens boxes.
#[derive(Clone)]
pub struct OpenKey {
    key: PrivateKey,
    public: SealKey,
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenKey({})", self.public.id)
    }
}

impl OpenKey {
    /// The key of an X-Wing seed.
    pub(crate) fn new(seed: &Secret) -> Self {
        // A seed has the right length by its type; any 32 bytes are a key.
        let key = PrivateKey::from_bytes(seed.expose())
            .unwrap_or_else(|_error| XWing::derive_keypair(seed.expose()).0);
        let public = XWing::sk_to_pk(&key);
        let id = key_id(&public.to_bytes());
        Self {
            key,
            public: SealKey { key: public, id },
        }
    }

    /// The public half.
    pub const fn public(&self) -> &SealKey {
        &self.public
    }

    /// Opens a box.
    pub fn open(
        &self,
        sealed: &SealedBox,
        info: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        if sealed.key != self.public.id {
            return Err(CryptoError::OtherKey);
        }
        let altered = CryptoError::Decrypt { what: "sealed box" };
        let Ok(encapsulated) = EncappedKey::from_bytes(&sealed.encapsulated) else {
            return Err(altered);
        };
        hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.key,
            &encapsulated,
            info,
            &sealed.ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_error| altered)
    }
}

fn key_id(public: &[u8]) -> KeyId {
    let hash = blake3::hash(public);
    let (head, _) = hash.as_bytes().split_at(KeyId::BYTES);
    KeyId(head.try_into().unwrap_or_default())
}

/// The random bytes that an encapsulation draws: a stream out of those that the caller gave.
struct Stream(blake3::OutputReader);

impl Stream {
    fn new(random: &Secret) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("dolmen v1 encapsulation randomness");
        let stream = Self(hasher.update(random.expose()).finalize_xof());
        hasher.zeroize();
        stream
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl TryCryptoRng for Stream {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_info_and_aad_open_a_box() {
        let (key, other) = (
            OpenKey::new(&Secret::new([1; 32])),
            OpenKey::new(&Secret::new([2; 32])),
        );
        let sealed = key
            .public()
            .seal(&Secret::new([3; 32]), b"info", b"aad", b"plain")
            .unwrap();
        assert_eq!(
            key.open(&sealed, b"info", b"aad").unwrap().as_slice(),
            b"plain"
        );
        assert!(key.open(&sealed, b"else", b"aad").is_err());
        assert!(key.open(&sealed, b"info", b"else").is_err());
        assert_eq!(
            other.open(&sealed, b"info", b"aad"),
            Err(CryptoError::OtherKey)
        );
        let mut renamed = sealed.clone();
        renamed.key = other.public().id();
        assert!(other.open(&renamed, b"info", b"aad").is_err());
        let mut flipped = sealed;
        flipped.encapsulated[5] ^= 1;
        assert!(key.open(&flipped, b"info", b"aad").is_err());
    }

    #[test]
    fn a_public_key_survives_its_bytes() {
        let key = OpenKey::new(&Secret::new([1; 32]));
        let read = SealKey::from_bytes(&key.public().to_bytes()).unwrap();
        assert_eq!(read.id(), key.public().id());
        assert!(SealKey::from_bytes(&[0; 10]).is_err());
    }

    /// The random bytes of a published vector, once.
    struct Published([u8; 64]);

    impl TryRng for Published {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            unreachable!("an encapsulation draws bytes")
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            unreachable!("an encapsulation draws bytes")
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
            out.copy_from_slice(&self.0);
            Ok(())
        }
    }

    impl TryCryptoRng for Published {}

    fn unhex<const N: usize>(digits: &str) -> [u8; N] {
        let pairs = digits.as_bytes().chunks(2);
        let bytes =
            pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap());
        bytes.collect::<Vec<_>>().try_into().unwrap()
    }

    /// The first vector of draft-connolly-cfrg-xwing-kem; its long values by their BLAKE3.
    #[test]
    fn x_wing_is_the_drafts() {
        let seed = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26";
        let random = "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2\
                      35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2";
        let public = "feef93be794a93e4e5e9ea6b57c0cb74477e7624a4a5cc269372392b8cb49ca2";
        let encapsulated = "ad7464c3f36f257dfe3369a82fef9f60f84fd14fffc232ec50568de4511e0ff3";
        let key = OpenKey::new(&Secret::new(unhex(seed)));
        let bytes = key.public().to_bytes();
        assert_eq!(blake3::hash(&bytes), unhex(public));
        assert_eq!(key.public().id().0, unhex::<32>(public)[..16]);
        let (found, _) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &key.public().key,
            b"",
            &mut Published(unhex(random)),
        )
        .unwrap();
        assert_eq!(blake3::hash(&found.to_bytes()), unhex(encapsulated));
    }

    /// The suite's identifiers are those of the page.
    #[test]
    fn the_suite_is_that_of_the_format() {
        use hpke::{aead::Aead as _, kdf::Kdf as _};
        assert_eq!(XWing::KEM_ID, 0x647a);
        assert_eq!(HkdfSha256::KDF_ID, 1);
        assert_eq!(AesGcm256::AEAD_ID, 2);
    }
}
