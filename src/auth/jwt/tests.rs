//! Token verification: which tokens are valid.

use super::super::tests::{NOW, SECRET, Scratch, Signer, key_file, key_path, set, unsigned};
use super::*;
use crate::config::Secret;
use campanile_tests::prng::Prng;
use jsonwebtoken::Algorithm;
use serde_json::json;

const NAME_BYTES_MAX: u32 = 16;
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Bytes for random tokens: those of tokens and JSON, and invalid ones.
const ALPHABET: &[u8] = b"eyJhbGciOiJIUzI1NiJ9.-_=AZ09 \"{}[]:,\x00\xff";
const LETTERS: &[u8] = b"AQgwBCDEabyz0189-_.=+/ ";

/// Returns each form of a single key in the config, with the signer of its tokens.
fn each_kind() -> [(JwtKeys, Signer); 3] {
    [
        (secret(), Signer::secret(SECRET)),
        (JwtKeys::Pem(key_path("rsa.public")), Signer::rsa("rsa")),
        (JwtKeys::Pem(key_path("p256.public")), Signer::ec("p256")),
    ]
}

fn limits() -> Limits {
    Limits {
        name_bytes_max: NAME_BYTES_MAX,
        token_bytes_max: u32::try_from(TOKEN_BYTES_MAX).expect("small"),
        ..Limits::default()
    }
}

fn secret() -> JwtKeys {
    let text = str::from_utf8(SECRET).expect("it is ASCII");
    JwtKeys::Secret(Secret::new(text))
}

fn open(jwt: &Jwt) -> JwtVerifier {
    JwtVerifier::open(jwt, &limits()).expect("the keys are good")
}

fn verifier(keys: JwtKeys) -> JwtVerifier {
    open(&Jwt::new(keys))
}

fn jwks(keys: &[Value]) -> (JwtVerifier, Scratch) {
    let file = Scratch::new(&set(keys));
    (verifier(JwtKeys::Jwks(file.path())), file)
}

/// Returns claims that are valid for any verifier of these tests.
fn claims() -> Value {
    json!({"sub": "jack", "exp": NOW + 60})
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn user_of(verifier: &JwtVerifier, token: &str) -> Result<String, TokenError> {
    let verified = verifier.verify(token, NOW);
    verified.map(|verified| verified.user.into())
}

#[track_caller]
fn expect_user(verifier: &JwtVerifier, token: &str, user: &str) {
    assert_eq!(user_of(verifier, token), Ok(user.to_owned()), "{token}");
}

#[track_caller]
fn expect_rejected(verifier: &JwtVerifier, token: &str, why: TokenError) {
    assert_eq!(user_of(verifier, token), Err(why), "{token}");
}

#[test]
fn a_good_token_of_each_algorithm_names_its_user() {
    for (keys, signer) in each_kind() {
        let verifier = verifier(keys);
        expect_user(&verifier, &signer.sign(&claims()), "jack");
        let header = jsonwebtoken::Header::new(signer.algorithm);
        let token = jsonwebtoken::encode(&header, &claims(), &signer.key);
        expect_user(&verifier, &token.expect("it can sign"), "jack");
        // With one key, any `kid` is accepted.
        expect_user(&verifier, &signer.sign_as("whatever", &claims()), "jack");
    }
}

#[test]
fn the_examples_of_rfc_7515_are_valid() {
    const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlL\
         mNvbS9pc19yb290Ijp0cnVlfQ";
    let keys = [
        json!({"kty": "oct", "kid": "A.1", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T\
               -1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}),
        json!({"kty": "RSA", "kid": "A.2", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fA\
               kd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS\
               -pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMd\
               bBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5I\
               hlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
        }),
        json!({"kty": "EC", "kid": "A.3", "crv": "P-256",
               "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
               "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
    ];
    let examples = [
        (
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5\
             YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h\
             6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZE\
             Sc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig\
             cN_IoypGlUPQGe77Rw",
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg\
             6NU1Q",
        ),
    ];
    for (key, (header, signature)) in keys.into_iter().zip(examples) {
        let file = Scratch::new(&set(&[key]));
        let verifier = open(&Jwt {
            user_claim: "iss".to_owned(),
            ..Jwt::new(JwtKeys::Jwks(file.path()))
        });
        let token = format!("{header}.{CLAIMS}.{signature}");
        let verified = verifier.verify(&token, 1_300_819_379).expect("it is good");
        assert_eq!(&*verified.user, "joe");
        assert!(
            verified
                .claims
                .has_claim("http://example.com/is_root", "true")
        );
        let late = verifier.verify(&token, 1_300_819_380);
        assert_eq!(late.err(), Some(TokenError::Expired));
    }
}

#[test]
fn an_unsigned_token_is_rejected_with_any_alg() {
    for (keys, _) in each_kind() {
        let verifier = verifier(keys);
        for none in ["none", "None", "NONE", "nOnE", "none ", "", "null"] {
            let header = json!({"alg": none}).to_string();
            let message = unsigned(header.as_bytes(), claims().to_string().as_bytes());
            expect_rejected(&verifier, &format!("{message}."), TokenError::Algorithm);
            expect_rejected(&verifier, &format!("{message}.AAAA"), TokenError::Algorithm);
        }
        for header in [json!({}), json!({"alg": null}), json!({"alg": ["none"]})] {
            let header = header.to_string();
            let message = unsigned(header.as_bytes(), claims().to_string().as_bytes());
            expect_rejected(&verifier, &format!("{message}."), TokenError::Malformed);
        }
    }
}

/// A public key must not work as an HMAC secret: everyone knows it.
#[test]
fn a_public_key_is_not_a_valid_secret() {
    for (keys, signer) in [
        (JwtKeys::Pem(key_path("rsa.public")), Signer::rsa("rsa")),
        (JwtKeys::Pem(key_path("p256.public")), Signer::ec("p256")),
    ] {
        let JwtKeys::Pem(path) = &keys else {
            unreachable!("a file with PEM")
        };
        let pem = std::fs::read(path).expect("it is there");
        let text = String::from_utf8(pem.clone()).expect("PEM is text");
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(&body);
        let jwk = signer.jwk(None);
        let member = if signer.algorithm == Algorithm::RS256 {
            "n"
        } else {
            "x"
        };
        let member = jwk[member].as_str().expect("a part of the key").to_owned();
        let number = URL_SAFE_NO_PAD.decode(&member).expect("base64url");
        let verifier = verifier(keys);
        for secret in [
            pem,
            text.trim_end().as_bytes().to_vec(),
            body.into_bytes(),
            der.expect("base64"),
            member.into_bytes(),
            number,
            jwk.to_string().into_bytes(),
        ] {
            let forger = Signer::secret(&secret);
            expect_rejected(&verifier, &forger.sign(&claims()), TokenError::Algorithm);
            // The header's algorithm must not change that.
            let header = json!({"alg": signer.algorithm});
            let lie = forger.sign_under(&header, &claims());
            expect_rejected(&verifier, &lie, TokenError::Signature);
        }
    }
}

#[test]
fn a_key_of_a_set_is_not_a_valid_secret() {
    let jwk = Signer::rsa("rsa").jwk(Some("a"));
    let (verifier, _file) = jwks(&[jwk.clone(), Signer::secret(SECRET).jwk(Some("b"))]);
    let n = jwk["n"].as_str().expect("it is RSA");
    for secret in [
        n.as_bytes(),
        jwk.to_string().as_bytes(),
        &key_file("rsa.public"),
    ] {
        let forged = Signer::secret(secret).sign_as("a", &claims());
        expect_rejected(&verifier, &forged, TokenError::Algorithm);
    }
    let borrowed = Signer::secret(SECRET).sign_as("a", &claims());
    expect_rejected(&verifier, &borrowed, TokenError::Algorithm);
}

#[test]
fn a_key_takes_its_one_algorithm_only() {
    let rightly_signed: [&[Algorithm]; 3] = [
        &[Algorithm::HS384, Algorithm::HS512],
        &[Algorithm::RS384, Algorithm::RS512, Algorithm::PS256],
        &[],
    ];
    for ((keys, signer), others) in each_kind().into_iter().zip(rightly_signed) {
        let verifier = verifier(keys);
        for &algorithm in others {
            let key = signer.key.clone();
            let token = Signer { algorithm, key }.sign(&claims());
            expect_rejected(&verifier, &token, TokenError::Algorithm);
        }
        for name in [
            "HS384", "RS384", "PS256", "ES384", "ES512", "EdDSA", "ES256K",
        ] {
            let token = signer.sign_under(&json!({"alg": name}), &claims());
            expect_rejected(&verifier, &token, TokenError::Algorithm);
        }
        for (_, other) in each_kind() {
            if other.algorithm != signer.algorithm {
                expect_rejected(&verifier, &other.sign(&claims()), TokenError::Algorithm);
                let swapped = signer.sign_under(&json!({"alg": other.algorithm}), &claims());
                expect_rejected(&verifier, &swapped, TokenError::Algorithm);
                let lie = other.sign_under(&json!({"alg": signer.algorithm}), &claims());
                expect_rejected(&verifier, &lie, TokenError::Signature);
            }
        }
        let lower = format!("{:?}", signer.algorithm).to_lowercase();
        let misspelt = signer.sign_under(&json!({"alg": lower}), &claims());
        expect_rejected(&verifier, &misspelt, TokenError::Algorithm);
    }
}

#[test]
fn a_token_of_another_key_is_rejected() {
    let others = [
        Signer::secret(b"another secret, of 32 bytes or more"),
        Signer::rsa("rsa-other"),
        Signer::ec("p256-other"),
    ];
    for ((keys, _), other) in each_kind().into_iter().zip(others) {
        expect_rejected(
            &verifier(keys),
            &other.sign(&claims()),
            TokenError::Signature,
        );
    }
}

#[test]
fn a_token_whose_parts_were_swapped_or_changed_is_rejected() {
    for (keys, signer) in each_kind() {
        let verifier = verifier(keys);
        let [jack, jill] = ["jack", "jill"].map(|user| signer.sign(&with("sub", user)));
        let (jacks, jills) = (parts(&jack), parts(&jill));
        let forged = [jacks[0], jills[1], jacks[2]].join(".");
        expect_rejected(&verifier, &forged, TokenError::Signature);
        for signature in ["", "AAAA", jills[2], "***", &format!("{}=", jacks[2])] {
            let forged = [jacks[0], jacks[1], signature].join(".");
            expect_rejected(&verifier, &forged, TokenError::Signature);
        }
        let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
        let forged = [jacks[0], jacks[1], &zeros].join(".");
        expect_rejected(&verifier, &forged, TokenError::Signature);
    }
}

fn parts(token: &str) -> Vec<&str> {
    token.split('.').collect()
}

#[test]
fn other_texts_are_malformed() {
    let signer = Signer::secret(SECRET);
    let verifier = verifier(secret());
    let good = signer.sign(&claims());
    let good = parts(&good);
    for token in [
        String::new(),
        "abc".to_owned(),
        "..".to_owned(),
        "a.b".to_owned(),
        format!("{}.{}", good[0], good[1]),
        format!("{}.{}.{}.", good[0], good[1], good[2]),
        format!("{}.{}.a.b.c", good[0], good[1]),
        format!(" {}.{}.{}", good[0], good[1], good[2]),
        format!("{}=.{}.{}", good[0], good[1], good[2]),
    ] {
        expect_rejected(&verifier, &token, TokenError::Malformed);
    }
    let header = br#"{"alg":"HS256"}"#;
    for claims in [
        &b""[..],
        b"null",
        b"[]",
        b"7",
        b"\"x\"",
        b"{",
        b"{}x",
        b"\xff",
    ] {
        let token = signer.sign_bytes(header, claims);
        expect_rejected(&verifier, &token, TokenError::Malformed);
    }
    for header in [
        &b"HS256"[..],
        br#"{"alg":"HS256","alg":"HS256"}"#,
        br#"["HS256"]x"#,
    ] {
        let token = signer.sign_bytes(header, claims().to_string().as_bytes());
        expect_rejected(&verifier, &token, TokenError::Malformed);
    }
    let nested = signer.sign_under(&json!({"alg": "HS256", "kid": 7}), &claims());
    expect_rejected(&verifier, &nested, TokenError::Malformed);
}

#[test]
fn unknown_header_members_are_ignored() {
    let header = json!({
        "alg": "HS256", "typ": "at+jwt", "kid": null, "jku": 7, "jwk": {"kty": "oct"},
        "x5u": {}, "x": [],
    });
    let token = Signer::secret(SECRET).sign_under(&header, &claims());
    expect_user(&verifier(secret()), &token, "jack");
}

#[test]
fn a_token_with_crit_is_rejected() {
    let verifier = verifier(secret());
    for crit in [
        json!(["b64"]),
        json!(["exp"]),
        json!([]),
        json!(null),
        json!("x"),
    ] {
        let header = json!({"alg": "HS256", "b64": true, "crit": crit});
        let token = Signer::secret(SECRET).sign_under(&header, &claims());
        expect_rejected(&verifier, &token, TokenError::Critical);
    }
}

#[test]
fn a_long_token_is_rejected_without_decoding() {
    let verifier = verifier(secret());
    let signer = Signer::secret(SECRET);
    let padded = |count: usize| signer.sign(&with("pad", "x".repeat(count)));
    let mut fits = 12_000;
    while padded(fits + 1).len() <= TOKEN_BYTES_MAX {
        fits += 1;
    }
    expect_user(&verifier, &padded(fits), "jack");
    expect_rejected(&verifier, &padded(fits + 1), TokenError::TooLong);
    let nonsense = "x".repeat(TOKEN_BYTES_MAX + 1);
    expect_rejected(&verifier, &nonsense, TokenError::TooLong);
}

#[test]
fn exp_is_required_and_the_last_moment_is_before_it() {
    let signer = Signer::secret(SECRET);
    for leeway_s in [0, 30] {
        let verifier = open(&Jwt {
            leeway_s,
            ..Jwt::new(secret())
        });
        let late = u64::from(leeway_s);
        let fraction = |exp: u64| json!(format!("{exp}.5").parse::<f64>().expect("a number"));
        for (exp, expected) in [
            (json!(NOW + 1 - late), Ok(())),
            (json!(NOW - late), Err(TokenError::Expired)),
            (fraction(NOW - late), Ok(())),
            (fraction(NOW - late - 1), Err(TokenError::Expired)),
            (json!(0), Err(TokenError::Expired)),
            (json!(-1), Err(TokenError::Expired)),
            (json!(-1e300), Err(TokenError::Expired)),
            (json!(u64::MAX), Ok(())),
            (json!(1e300), Ok(())),
            (json!((NOW + 60).to_string()), Err(TokenError::Times)),
            (json!(null), Err(TokenError::Times)),
            (json!([NOW + 60]), Err(TokenError::Times)),
        ] {
            let token = signer.sign(&with("exp", exp.clone()));
            let result = user_of(&verifier, &token).map(drop);
            assert_eq!(result, expected, "{exp} with {leeway_s} s");
        }
    }
    let endless = signer.sign(&json!({"sub": "jack"}));
    expect_rejected(&verifier(secret()), &endless, TokenError::Times);
}

#[test]
fn before_nbf_a_token_is_not_valid() {
    let signer = Signer::secret(SECRET);
    for leeway_s in [0, 30] {
        let verifier = open(&Jwt {
            leeway_s,
            ..Jwt::new(secret())
        });
        let early = u64::from(leeway_s);
        for (nbf, expected) in [
            (json!(NOW + early), Ok(())),
            (json!(NOW + early + 1), Err(TokenError::NotYetValid)),
            (json!(-5), Ok(())),
            (json!(1e300), Err(TokenError::NotYetValid)),
            (json!(null), Err(TokenError::Times)),
            (json!("0"), Err(TokenError::Times)),
        ] {
            let token = signer.sign(&with("nbf", nbf.clone()));
            let result = user_of(&verifier, &token).map(drop);
            assert_eq!(result, expected, "{nbf} with {leeway_s} s");
        }
    }
}

#[test]
fn a_configured_issuer_is_required() {
    let verifier = open(&Jwt {
        issuer: Some("https://a.example".to_owned()),
        ..Jwt::new(secret())
    });
    let signer = Signer::secret(SECRET);
    expect_user(
        &verifier,
        &signer.sign(&with("iss", "https://a.example")),
        "jack",
    );
    expect_rejected(&verifier, &signer.sign(&claims()), TokenError::Issuer);
    for iss in [
        json!("https://a.example/"),
        json!(["https://a.example"]),
        json!(null),
    ] {
        expect_rejected(
            &verifier,
            &signer.sign(&with("iss", iss)),
            TokenError::Issuer,
        );
    }
}

#[test]
fn a_configured_audience_is_required_and_without_one_none_passes_unless_any_does() {
    let ours = open(&Jwt {
        audience: Some("chat".to_owned()),
        ..Jwt::new(secret())
    });
    let any = open(&Jwt {
        any_audience: true,
        ..Jwt::new(secret())
    });
    let none = verifier(secret());
    let signer = Signer::secret(SECRET);
    expect_user(&none, &signer.sign(&claims()), "jack");
    for aud in [json!("chat"), json!(["mail", "chat"]), json!([7, "chat"])] {
        expect_user(&ours, &signer.sign(&with("aud", aud.clone())), "jack");
        let token = signer.sign(&with("aud", aud));
        expect_user(&any, &token, "jack");
        expect_rejected(&none, &token, TokenError::Audience);
    }
    expect_rejected(&ours, &signer.sign(&claims()), TokenError::Audience);
    for aud in [
        json!("Chat"),
        json!(["mail"]),
        json!([]),
        json!([["chat"]]),
        json!({}),
    ] {
        let token = signer.sign(&with("aud", aud));
        expect_rejected(&ours, &token, TokenError::Audience);
        expect_user(&any, &token, "jack");
        expect_rejected(&none, &token, TokenError::Audience);
    }
}

#[test]
fn a_user_is_a_string_or_an_integer_of_bounded_length() {
    let verifier = verifier(secret());
    let signer = Signer::secret(SECRET);
    for (sub, user) in [
        (json!("jack"), Ok("jack")),
        (json!(42), Ok("42")),
        (json!(-7), Ok("-7")),
        (json!("x".repeat(16)), Ok("xxxxxxxxxxxxxxxx")),
        (json!("x".repeat(17)), Err(TokenError::LongUser)),
        (json!(u64::MAX), Err(TokenError::LongUser)),
        (json!(""), Err(TokenError::NoUser)),
        (json!(1.0), Err(TokenError::NoUser)),
        (json!(1e30), Err(TokenError::NoUser)),
        (json!(true), Err(TokenError::NoUser)),
        (json!(null), Err(TokenError::NoUser)),
        (json!(["jack"]), Err(TokenError::NoUser)),
        (json!({"name": "jack"}), Err(TokenError::NoUser)),
    ] {
        let token = signer.sign(&with("sub", sub.clone()));
        assert_eq!(user_of(&verifier, &token), user.map(str::to_owned), "{sub}");
    }
    let no_user = signer.sign(&json!({"exp": NOW + 60}));
    expect_rejected(&verifier, &no_user, TokenError::NoUser);
}

#[test]
fn the_config_says_which_claim_names_the_user() {
    let verifier = open(&Jwt {
        user_claim: "https://a.example/uid".to_owned(),
        ..Jwt::new(secret())
    });
    let signer = Signer::secret(SECRET);
    let mut both = with("https://a.example/uid", 7);
    both["sub"] = json!({"not": "looked at"});
    expect_user(&verifier, &signer.sign(&both), "7");
    expect_rejected(&verifier, &signer.sign(&claims()), TokenError::NoUser);
}

#[test]
fn a_claim_holds_a_value_that_is_spelled_so() {
    let claims = json!({
        "role": "admin", "level": 7, "share": 1.5, "paid": true, "gone": null,
        "groups": ["staff", 7, true, null, ["deep"]], "a.b": "dotted", "a": {"b": "path"},
        "empty": "",
    });
    let Value::Object(claims) = claims else {
        unreachable!("an object")
    };
    let claims = Claims(Rc::new(claims));
    for (name, value, holds) in [
        ("role", "admin", true),
        ("role", "Admin", false),
        ("role", "adm", false),
        ("level", "7", true),
        ("level", "07", false),
        ("level", "7.0", false),
        ("share", "1.5", true),
        ("paid", "true", true),
        ("paid", "false", false),
        ("gone", "null", false),
        ("groups", "staff", true),
        ("groups", "7", true),
        ("groups", "true", true),
        ("groups", "null", false),
        ("groups", "deep", false),
        ("a.b", "dotted", true),
        ("a.b", "path", false),
        ("a", "path", false),
        ("empty", "", true),
        ("missing", "", false),
    ] {
        assert_eq!(claims.has_claim(name, value), holds, "{name} = {value}");
    }
    assert_eq!(claims.as_json()["level"], 7);
}

#[test]
fn the_last_of_duplicate_claims_wins() {
    let twice = format!(
        r#"{{"sub":"jack","exp":1,"exp":{},"sub":"jill"}}"#,
        NOW + 60
    );
    let token = Signer::secret(SECRET).sign_bytes(br#"{"alg":"HS256"}"#, twice.as_bytes());
    expect_user(&verifier(secret()), &token, "jill");
}

#[test]
fn a_set_chooses_the_key_by_kid_and_algorithm() {
    let (rsa, ec) = (Signer::rsa("rsa"), Signer::ec("p256"));
    let other = Signer::rsa("rsa-other");
    let keys = [
        rsa.jwk(Some("a")),
        ec.jwk(Some("a")),
        other.jwk(Some("b")),
        Signer::secret(SECRET).jwk(None),
    ];
    let (verifier, _file) = jwks(&keys);
    expect_user(&verifier, &rsa.sign_as("a", &claims()), "jack");
    expect_user(&verifier, &ec.sign_as("a", &claims()), "jack");
    expect_user(&verifier, &other.sign_as("b", &claims()), "jack");
    for (token, why) in [
        (other.sign_as("a", &claims()), TokenError::Signature),
        (ec.sign_as("b", &claims()), TokenError::Algorithm),
        (rsa.sign_as("A", &claims()), TokenError::UnknownKey),
        (rsa.sign_as("", &claims()), TokenError::UnknownKey),
        (rsa.sign(&claims()), TokenError::NoKeyId),
        (Signer::secret(SECRET).sign(&claims()), TokenError::NoKeyId),
    ] {
        expect_rejected(&verifier, &token, why);
    }
}

#[test]
fn a_token_without_kid_is_tried_with_the_only_usable_key() {
    let rsa = Signer::rsa("rsa");
    let mut encryption = Signer::rsa("rsa-other").jwk(Some("enc"));
    encryption["use"] = json!("enc");
    let (verifier, _file) = jwks(&[rsa.jwk(Some("a")), encryption]);
    expect_user(&verifier, &rsa.sign(&claims()), "jack");
    let foreign = Signer::rsa("rsa-other").sign(&claims());
    expect_rejected(&verifier, &foreign, TokenError::Signature);
    expect_rejected(
        &verifier,
        &Signer::ec("p256").sign(&claims()),
        TokenError::Algorithm,
    );
    let named = Signer::rsa("rsa-other").sign_as("enc", &claims());
    expect_rejected(&verifier, &named, TokenError::UnknownKey);
}

#[test]
fn a_rotated_key_applies_from_the_next_token_on() {
    let (old, new) = (Signer::rsa("rsa"), Signer::ec("p256"));
    let (verifier, file) = jwks(&[old.jwk(Some("old"))]);
    let tokens = [old.sign_as("old", &claims()), new.sign_as("new", &claims())];
    expect_user(&verifier, &tokens[0], "jack");
    expect_rejected(&verifier, &tokens[1], TokenError::UnknownKey);
    file.replace(
        &set(&[old.jwk(Some("old")), new.jwk(Some("new"))]),
        NOW - 900,
    );
    expect_user(&verifier, &tokens[1], "jack");
    expect_user(&verifier, &tokens[0], "jack");
    file.replace(&set(&[new.jwk(Some("new"))]), NOW - 800);
    expect_rejected(&verifier, &tokens[0], TokenError::UnknownKey);
    expect_user(&verifier, &tokens[1], "jack");
    assert_eq!(verifier.reload_failures(), 0);
}

#[test]
fn a_bad_file_keeps_the_keys_and_is_counted_once() {
    let file = Scratch::new(&key_file("rsa.public"));
    let verifier = verifier(JwtKeys::Pem(file.path()));
    let token = Signer::rsa("rsa").sign(&claims());
    let steps: [&dyn Fn(); 4] = [
        &|| file.write(b"nonsense", NOW - 900),
        &|| file.replace(&key_file("rsa.private"), NOW - 800),
        &|| file.remove(),
        &|| file.write(&vec![b' '; 1024 * 1024 + 1], NOW - 700),
    ];
    for (step, failures) in steps.iter().zip(1..) {
        step();
        for _ in 0..3 {
            expect_user(&verifier, &token, "jack");
            assert_eq!(verifier.reload_failures(), failures);
        }
    }
    file.replace(&key_file("rsa-other.public"), NOW - 600);
    expect_rejected(&verifier, &token, TokenError::Signature);
    expect_user(&verifier, &Signer::rsa("rsa-other").sign(&claims()), "jack");
    assert_eq!(verifier.reload_failures(), 4);
}

#[test]
fn no_verifier_is_opened_without_keys_and_the_error_names_the_file() {
    let file = Scratch::new(&key_file("p384.public"));
    let told = |keys| {
        let error = JwtVerifier::open(&Jwt::new(keys), &limits()).err();
        error.expect("refused").to_string()
    };
    let path = file.path().display().to_string();
    let problem = told(JwtKeys::Pem(file.path()));
    assert!(
        problem.starts_with(&format!("{path}: is a key on P-384; ")),
        "{problem}"
    );
    let problem = told(JwtKeys::Jwks(file.path()));
    assert!(
        problem.starts_with(&format!("{path}: is not JSON: ")),
        "{problem}"
    );
    let problem = told(JwtKeys::Pem(std::env::temp_dir()));
    assert!(problem.ends_with(": is not a regular file"), "{problem}");
    file.remove();
    let problem = told(JwtKeys::Pem(file.path()));
    assert!(
        problem.contains(": cannot be read: No such file"),
        "{problem}"
    );
    file.write(&vec![b' '; 1024 * 1024 + 1], NOW);
    let problem = told(JwtKeys::Pem(file.path()));
    assert_eq!(problem, format!("{path}: has more than 1048576 bytes"));
}

#[test]
fn all_shards_can_share_one() {
    fn is_shared<T: Send + Sync>(_: &T) {}
    let file = Scratch::new(&key_file("rsa.public"));
    let verifier = verifier(JwtKeys::Pem(file.path()));
    is_shared(&verifier);
    file.replace(&key_file("rsa-other.public"), NOW - 900);
    let token = Signer::rsa("rsa-other").sign(&claims());
    expect_user(&verifier, &token, "jack");
    // Later calls use the reloaded keys, even if the file has become invalid since.
    file.write(b"nonsense", NOW - 800);
    expect_user(&verifier, &token, "jack");
}

#[test]
fn any_bytes_are_valid_or_invalid_without_panic() {
    let mut prng = Prng::from_seed(4);
    let verifiers = each_kind().map(|(keys, _)| verifier(keys));
    let signer = Signer::secret(SECRET);
    for _ in 0..20_000 {
        let mut bytes = || -> Vec<u8> {
            let count = prng.range(0, 60);
            let letters = (0..count).map(|_| prng.pick(ALPHABET.iter()).expect("letters"));
            letters.copied().collect()
        };
        let token = String::from_utf8_lossy(&bytes()).into_owned();
        for verifier in &verifiers {
            assert!(verifier.verify(&token, NOW).is_err(), "{token:?}");
        }
        // Random bytes with a valid signature reach the parser.
        let token = signer.sign_bytes(br#"{"alg":"HS256"}"#, &bytes());
        assert!(verifiers[0].verify(&token, NOW).is_err(), "{token:?}");
        let token = signer.sign_bytes(&bytes(), claims().to_string().as_bytes());
        assert!(verifiers[0].verify(&token, NOW).is_err(), "{token:?}");
    }
}

#[test]
fn a_changed_token_is_invalid() {
    let mut prng = Prng::from_seed(5);
    for (keys, signer) in each_kind() {
        let verifier = verifier(keys);
        let good = signer.sign(&claims());
        expect_user(&verifier, &good, "jack");
        for _ in 0..3_000 {
            let mut token = good.clone().into_bytes();
            for _ in 0..prng.range(1, 3) {
                let at = prng.pick(0..token.len()).expect("it is not empty");
                let letter = *prng.pick(LETTERS.iter()).expect("letters");
                match prng.range(0, 3) {
                    0 => token[at] = letter,
                    1 => token.insert(at, letter),
                    2 => drop(token.remove(at)),
                    _ => token.truncate(at + 5),
                }
            }
            token.extend((0..prng.range(0, 1)).map(|_| b'A'));
            let token = String::from_utf8(token).expect("it is ASCII");
            if token != good {
                assert!(verifier.verify(&token, NOW).is_err(), "{token}");
            }
        }
    }
}

#[test]
fn debug_output_has_neither_keys_nor_claims() {
    let shown = format!("{:?}", verifier(secret()));
    assert_eq!(shown, "JwtVerifier { .. }");
}
