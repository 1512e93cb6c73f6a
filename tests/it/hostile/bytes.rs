//! Files that are not modules.

use super::*;

#[tokio::test]
async fn refuses_files_that_are_not_components() {
    let whole = guests::component("well-behaved");
    let garbage: Vec<u8> = (0..10_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let header_and_garbage = [&whole[..8], &garbage].concat();
    for (what, bytes) in [
        ("an empty file", &b""[..]),
        ("text", b"apiVersion: wardset.dev/v1alpha1"),
        ("a component in text, which only tests may load", b"(component)"),
        ("garbage", &garbage),
        ("a component's header and garbage", &header_and_garbage),
    ] {
        let error = Module::load(&ENGINE, bytes, None).await.err().unwrap();
        assert_eq!(refused(&error), By::Load(Refusal::Compile), "{what}: {error:?}");
    }
    assert_engine_works().await;
}

/// A truncated component is refused at every length. The cut may fall between two sections.
#[tokio::test]
async fn refuses_truncated_components() {
    let whole = guests::component("well-behaved");
    for cut in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let error = Module::load(&ENGINE, &whole[..cut], None).await.err();
        let by = error.as_ref().map(refused);
        let expected = [By::Load(Refusal::Compile), By::Load(Refusal::World)];
        assert!(by.is_some_and(|by| expected.contains(&by)), "cut at {cut}: {error:?}");
    }
    assert_engine_works().await;
}

#[tokio::test]
async fn refuses_an_oversized_module_before_parsing_it() {
    // A custom section that makes a good module 33 MiB long.
    let mut bytes = guests::component("well-behaved");
    let section: Vec<u8> = [&[0][..], &leb128(33 << 20), &[1, b'x'], &vec![0; (33 << 20) - 2]].concat();
    bytes.extend(section);
    let error = Module::load(&ENGINE, &bytes, None).await.err().unwrap();
    assert!(matches!(error, LoadError::TooLarge { found } if found == bytes.len()), "{error:?}");
    // A smaller section is accepted, so only the size is the reason.
    let mut bytes = guests::component("well-behaved");
    bytes.extend([&[0][..], &leb128(1 << 20), &[1, b'x'], &vec![0; (1 << 20) - 2]].concat());
    assert!(Module::load(&ENGINE, &bytes, None).await.is_ok());
}

fn leb128(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}
