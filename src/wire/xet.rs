//! The answer of `GET /api/{models,datasets,spaces}/ID/xet-read-token/COMMIT`.

use serde::{Deserialize, Serialize};

/// The right to read a commit's files from the Xet store. Headers say the same, which `parse_xet_connection_info_from_headers`
/// of `huggingface_hub` reads.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XetReadToken {
    /// The token of the store.
    pub access_token: String,
    /// When it ends, in seconds of Unix time.
    pub exp: i64,
    /// Where the store is.
    pub cas_url: String,
}
