//! The one error type of the library.

use std::fmt;
use std::path::{Path, PathBuf};

/// What went wrong, coarsely; for programs that react to errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused to read or write.
    Io,
    /// A file's bytes are not what its format requires.
    Format,
    /// An operator, attribute or data type that fgq does not implement.
    Unsupported,
    /// Tensor shapes that do not fit together.
    Shape,
    /// NaN or infinity where a finite number is required.
    NonFinite,
    /// An option whose value cannot be used.
    Argument,
    /// An image that cannot be decoded, or a folder without usable images.
    Image,
    /// Whoever watches the work's [`Progress`](crate::Progress) ended it.
    Cancelled,
}

impl ErrorKind {
    /// What programs in other languages know it by: its name in lower case.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(fgq::ErrorKind::NonFinite.name(), "non-finite");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Format => "format",
            Self::Unsupported => "unsupported",
            Self::Shape => "shape",
            Self::NonFinite => "non-finite",
            Self::Argument => "argument",
            Self::Image => "image",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A node of a network that cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why, and what to do about it.
    pub reason: String,
}

/// An error with the file and the node it concerns, where these are known.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    node: Option<String>,
    refusals: Vec<Refusal>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for results with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind`; `message` says what is wrong and what to do about it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), path: None, node: None, refusals: Vec::new(), source: None }
    }

    /// One error for all nodes that cannot be converted.
    pub(crate) fn refused(refusals: Vec<Refusal>) -> Self {
        let error = match refusals.as_slice() {
            [Refusal { node, operator, reason }] => {
                Self::new(ErrorKind::Unsupported, format!("{operator}: {reason}")).at_node(node)
            }
            all => {
                let line = |Refusal { node, operator, reason }: &Refusal| {
                    format!("\n  '{node}' ({operator}): {reason}")
                };
                let lines: String = all.iter().map(line).collect();
                Self::new(ErrorKind::Unsupported, format!("{} nodes cannot be converted:{lines}", all.len()))
            }
        };
        Self { refusals, ..error }
    }

    /// The same error, naming the file it concerns (unless one is named already).
    #[must_use]
    pub fn at_path(mut self, path: &Path) -> Self {
        self.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// The same error, naming the node it concerns (unless one is named already).
    #[must_use]
    pub fn at_node(mut self, node: &str) -> Self {
        self.node.get_or_insert_with(|| node.to_owned());
        self
    }

    /// The same error with its underlying cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An input or output error on `path`.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, source.to_string()).at_path(path)
    }

    /// What went wrong, coarsely.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong and what to do about it, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// All nodes that cannot be converted, if that is what is wrong.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The file the error concerns.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The node of the network the error concerns.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(node) = &self.node {
            write!(f, "node '{node}': ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_file_node_and_message() {
        let error = Error::new(ErrorKind::Unsupported, "Einsum is not supported")
            .at_node("/head/Einsum")
            .at_path(Path::new("net.onnx"));
        assert_eq!(error.to_string(), "net.onnx: node '/head/Einsum': Einsum is not supported");
    }

    #[test]
    fn all_refused_nodes_are_named() {
        let refusal = |node: &str| Refusal { node: node.into(), operator: "Pad".into(), reason: "no".into() };
        let one = Error::refused(vec![refusal("a")]);
        assert_eq!((one.to_string().as_str(), one.node()), ("node 'a': Pad: no", Some("a")));
        let two = Error::refused(vec![refusal("a"), refusal("b")]);
        assert_eq!(two.to_string(), "2 nodes cannot be converted:\n  'a' (Pad): no\n  'b' (Pad): no");
        assert_eq!(two.refusals(), [refusal("a"), refusal("b")]);
        assert!(Error::new(ErrorKind::Io, "m").refusals().is_empty());
    }

    #[test]
    fn first_place_named_wins() {
        let error = Error::new(ErrorKind::Shape, "m").at_node("inner").at_node("outer");
        assert_eq!(error.node(), Some("inner"));
    }
}
