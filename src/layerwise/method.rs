//! The choice of a method.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// How the weights of ternary layers are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Each group on its own, then gain and bias so that mean and variance match full precision.
    ClosedForm,
    /// Each layer fitted to full precision's outputs on the inputs it really gets.
    #[default]
    Compensated,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClosedForm => "closed-form",
            Self::Compensated => "compensated",
        })
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "closed-form" => Ok(Self::ClosedForm),
            "compensated" => Ok(Self::Compensated),
            _ => {
                let message = format!("unknown method '{text}'; use compensated or closed-form");
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }
}
