//! Content codings (RFC 9110, 8.4.1): some mirrors and proxies compress JSON although `identity` was requested. Pure.

use std::io::{self, Read};

use brotli_decompressor::{BrotliDecoderParameter, Decompressor};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// The largest zstd window for HTTP (RFC 9659), in bytes. It is allocated up front.
const ZSTD_WINDOW: u64 = 8 << 20;
/// The decoder's buffer size in bytes.
const BUFFER: usize = 16 * 1024;

/// A body that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodingError {
    #[error(
        "it is encoded as `{0}`; only gzip, deflate, br and zstd are supported, so disable that encoding for JSON"
    )]
    Unknown(String),
    #[error("it is compressed with {0} and cannot be decompressed")]
    Broken(&'static str),
    #[error("it is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// The decoded body, if it has at most `most` bytes.
pub(super) fn decode(headers: &HeaderMap, body: Vec<u8>, most: usize) -> Result<Vec<u8>, CodingError> {
    let coding = coding(headers)?;
    if coding == Coding::Identity {
        return Ok(body);
    }
    let mut decoded = Vec::new();
    let read = read(coding, &body, most.saturating_add(1), &mut decoded);
    if decoded.len() > most {
        return Err(CodingError::TooLarge(most));
    }
    read.map_err(|_| CodingError::Broken(coding.name()))?;
    Ok(decoded)
}

/// Up to `most` bytes of the beginning of a body, as far as it can be decoded.
pub(super) fn decode_beginning(headers: &HeaderMap, body: Vec<u8>, most: usize) -> Vec<u8> {
    match coding(headers) {
        Ok(Coding::Identity) => body,
        Ok(coding) => {
            let mut decoded = Vec::new();
            // Keep what could be decoded of a truncated body.
            let _ = read(coding, &body, most, &mut decoded);
            decoded
        }
        Err(_) => Vec::new(),
    }
}

/// Whether a body comes as it is.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    coding(headers) == Ok(Coding::Identity)
}

fn coding(headers: &HeaderMap) -> Result<Coding, CodingError> {
    let Some(name) = headers.get(CONTENT_ENCODING) else { return Ok(Coding::Identity) };
    let name = String::from_utf8_lossy(name.as_bytes()).trim().to_ascii_lowercase();
    match name.as_str() {
        "" | "identity" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "deflate" => Ok(Coding::Deflate),
        "br" => Ok(Coding::Brotli),
        "zstd" => Ok(Coding::Zstd),
        _ => Err(CodingError::Unknown(crate::text::printable(&name))),
    }
}

impl Coding {
    const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// Appends up to `most` decoded bytes.
fn read(coding: Coding, body: &[u8], most: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let most = most as u64;
    match coding {
        Coding::Identity => body.take(most).read_to_end(into),
        Coding::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(into),
        // The name means zlib, but some servers send raw deflate.
        Coding::Deflate if is_zlib(body) => ZlibDecoder::new(body).take(most).read_to_end(into),
        Coding::Deflate => DeflateDecoder::new(body).take(most).read_to_end(into),
        Coding::Brotli => {
            let mut decoder = Decompressor::new(body, BUFFER);
            // Not allowed in HTTP, and up to a gigabyte.
            decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
            decoder.take(most).read_to_end(into)
        }
        Coding::Zstd => {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(ZSTD_WINDOW);
            let decoder = StreamingDecoder::new_with_decoder(body, decoder).map_err(io::Error::other)?;
            decoder.take(most).read_to_end(into)
        }
    }
    .map(drop)
}

/// Whether it begins with a zlib header (RFC 1950).
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..]
        if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        read::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use pretty_assertions::assert_eq;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const MOST: usize = 60_000;

    fn headers(coding: &str) -> HeaderMap {
        [(CONTENT_ENCODING, coding.parse().unwrap())].into_iter().collect()
    }

    fn all(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// One uncompressed block and the end marker (RFC 7932, 9.2).
    fn brotli(content: &[u8]) -> Vec<u8> {
        let head = (u32::try_from(content.len() - 1).unwrap() << 4 | 1 << 20).to_le_bytes();
        [&head[..3], content, &[3]].concat()
    }

    /// The content in each coding.
    fn coded(content: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("gzip", all(GzEncoder::new(content, Compression::fast()))),
            (" X-GZIP", all(GzEncoder::new(content, Compression::fast()))),
            ("deflate", all(ZlibEncoder::new(content, Compression::fast()))),
            ("deflate", all(DeflateEncoder::new(content, Compression::fast()))),
            ("br", brotli(content)),
            ("zstd", compress_to_vec(content, CompressionLevel::Fastest)),
        ]
    }

    #[test]
    fn every_coding_is_decoded() {
        let content = br#"{"sha":"main"}"#.repeat(100);
        for (coding, body) in coded(&content) {
            assert_eq!(decode(&headers(coding), body, MOST), Ok(content.clone()), "{coding}");
        }
        for plain in [HeaderMap::new(), headers("identity"), headers("")] {
            assert_eq!(decode(&plain, content.clone(), MOST), Ok(content.clone()));
        }
    }

    #[test]
    fn the_decoded_size_is_bounded() {
        for (coding, body) in coded(&vec![b' '; MOST + 1]) {
            let decoded = decode(&headers(coding), body, MOST);
            assert_eq!(decoded, Err(CodingError::TooLarge(MOST)), "{coding}");
        }
        for (coding, body) in coded(&vec![b' '; MOST]) {
            assert_eq!(
                decode(&headers(coding), body, MOST).map(|decoded| decoded.len()),
                Ok(MOST),
                "{coding}"
            );
        }
        // Empty bodies that request windows of 16 MiB and of a gigabyte.
        let large_zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70, 0x01, 0x00, 0x00];
        assert_eq!(decode(&headers("zstd"), large_zstd.to_vec(), MOST), Err(CodingError::Broken("zstd")));
        let large_brotli = [0x11, 0x1e, 0x03];
        assert_eq!(decode(&headers("br"), large_brotli.to_vec(), MOST), Err(CodingError::Broken("br")));
    }

    #[test]
    fn truncated_and_unknown_codings_are_errors() {
        let content: Vec<u8> =
            (0..5000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (coding, mut body) in coded(&content) {
            body.truncate(body.len() / 2);
            let cut = decode(&headers(coding), body.clone(), MOST);
            assert!(matches!(cut, Err(CodingError::Broken(_))), "{coding}: {cut:?}");
            let beginning = decode_beginning(&headers(coding), body, MOST);
            assert!(content.starts_with(&beginning), "{coding}");
        }
        let unknown = decode(&headers("gzip, br"), Vec::new(), MOST).unwrap_err();
        assert!(unknown.to_string().starts_with("it is encoded as `gzip, br`"), "{unknown}");
    }

    #[test]
    fn the_beginning_of_a_long_body_is_decoded() {
        let content = "no access ".repeat(1000).into_bytes();
        for (coding, body) in coded(&content) {
            assert_eq!(decode_beginning(&headers(coding), body, 10), b"no access ", "{coding}");
        }
        assert_eq!(decode_beginning(&headers("lzma"), content, 10), b"");
    }
}
