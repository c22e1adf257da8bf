//! The primitives against published vectors: what the page names is what the libraries do.

#![expect(clippy::expect_used, reason = "a test may fail where it stands")]

use dolmen_crypto::{Secret, SigningKey};

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| str::from_utf8(pair).expect("ASCII"));
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
        .collect()
}

fn array<const N: usize>(digits: &str) -> [u8; N] {
    unhex(digits).try_into().expect("the size")
}

/// RFC 8032, section 7.1, tests 1 to 3.
#[test]
fn ed25519_is_rfc_8032() {
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in vectors {
        let key = SigningKey::new(&Secret::new(array(seed)));
        assert_eq!(key.verify_key().to_bytes(), array(public));
        let dalek = ed25519_dalek::SigningKey::from_bytes(&array(seed));
        let signed = ed25519_dalek::Signer::sign(&dalek, &unhex(message));
        assert_eq!(signed.to_bytes().as_slice(), unhex(signature));
        let strictly = dalek
            .verifying_key()
            .verify_strict(&unhex(message), &signed);
        assert!(strictly.is_ok());
    }
}

/// RFC 9106, section 5.3, which has a secret and associated data that Dolmen does not use.
#[test]
fn argon2id_is_rfc_9106() {
    use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).expect("short"))
        .build()
        .expect("sound");
    let argon = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)
        .expect("short");
    let mut output = [0; 32];
    argon
        .hash_password_into(&[1; 32], &[2; 16], &mut output)
        .expect("memory");
    let expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
    assert_eq!(output.as_slice(), unhex(expected));
}

/// NIST's GCM test case 16 of the original submission: AES-256, additional data.
#[test]
fn aes_256_gcm_is_nists() {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &unhex(key)).expect("a key"));
    let mut text = unhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let aad = Aad::from(unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"));
    let nonce = Nonce::assume_unique_for_key(array("cafebabefacedbaddecaf888"));
    let tag = key
        .seal_in_place_separate_tag(nonce, aad, &mut text)
        .expect("sealed");
    let expected = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662";
    assert_eq!(text, unhex(expected));
    assert_eq!(tag.as_ref(), unhex("76fc6ece0f4e1768cddf8853bb2d551b"));
}

/// BLAKE3's official vectors: the input is 0, 1, … 250, 0, 1 …
#[test]
fn blake3_is_the_official_one() {
    let key = b"whats the Elvish word for friend";
    let context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
    let vectors = [
        (
            0,
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
            "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
        ),
        (
            1,
            "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
            "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
            "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
        ),
    ];
    for (length, plain, keyed, derived) in vectors {
        let input: Vec<u8> = (0..=250).cycle().take(length).collect();
        assert_eq!(blake3::hash(&input).as_bytes().as_slice(), unhex(plain));
        assert_eq!(
            blake3::keyed_hash(key, &input).as_bytes().as_slice(),
            unhex(keyed)
        );
        assert_eq!(
            blake3::derive_key(context, &input).as_slice(),
            unhex(derived)
        );
    }
}
