//! The body of a refusal by the API.

use serde::{Deserialize, Serialize};

use crate::known;

/// JSON beside the header [`ERROR_MESSAGE`](crate::header::ERROR_MESSAGE), with the same words. Refusals of files are plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The words.
    #[serde(default, deserialize_with = "known")]
    pub error: Option<String>,
}
