//! The Hub's answers as they are on the wire, once for the client in `src/hub` and for the stand-in in `tests/hub`. Knows no
//! HTTP, and not which values are valid: whoever reads them parses them into types of their own.
//!
//! Only what the client reads is here. The stand-in adds what the official client reads besides.
//!
//! Mirrors leave out fields, add others and write `null`. So fields without which an answer is still of use are optional, and
//! [`known`] ones may have any form.

mod account;
pub mod header;
mod refusal;
mod repo;
mod tree;
mod xet;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

pub use account::{AccessToken, Auth, FineGrained, WhoAmI};
pub use refusal::ErrorBody;
pub use repo::{Gated, RepoInfo, Sibling};
pub use tree::{EntryKind, Lfs, TreeEntry};
pub use xet::XetReadToken;

/// A value in the form that is known, and none in any other.
fn known<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form<T> {
        Known(T),
        Other(IgnoredAny),
    }
    Ok(match Form::deserialize(value)? {
        Form::Known(value) => Some(value),
        Form::Other(IgnoredAny) => None,
    })
}
