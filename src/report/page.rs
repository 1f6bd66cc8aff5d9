//! What all web pages share: one file without anything from elsewhere, light or dark, to be read and to be printed.

use super::text::escaped;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// What browsers may do with the page.
const POLICY: &str = include_str!("policy.txt");
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A self-contained page; `lead` says in a sentence what it is about, `body` is HTML.
///
/// The browser is told to run no script but the page's own and to fetch nothing.
pub(super) fn page(title: &str, lead: &str, body: &str) -> String {
    let (title, lead) = (escaped(title), escaped(lead));
    let script = base64(&Sha256::digest(SCRIPT));
    let policy = POLICY.replace("{script}", &script);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n</header>\n\
         <main>\n{body}</main>\n<footer>Made by fgq {version}.</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// A part of a page under a title; nothing if it has no content.
pub(super) fn section(title: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    let title = escaped(title);
    format!("<section aria-label=\"{title}\">\n<h2>{title}</h2>\n{content}</section>\n")
}

/// Bytes as text, four letters for three of them.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number =
            three.iter().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = ALPHABET[(number >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_standard() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn pages_fetch_nothing() {
        let page = page("a <b>", "c & d", &section("<e>", "<p>f</p>\n"));
        for absent in ["http:", "https:", "src=", "@import", "url(", "<b>", "<e>"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("<title>a &lt;b&gt;</title>") && page.contains("c &amp; d"));
        assert!(SCRIPT.is_ascii() && !SCRIPT.contains("</") && !STYLE.contains("</"));
    }

    #[test]
    fn empty_sections_are_left_out() {
        assert_eq!(section("title", ""), "");
    }
}
