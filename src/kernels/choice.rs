//! Which implementation runs.

use super::blocked::Isa;
use super::portable;
use crate::error::{Error, ErrorKind, Result};

/// Which implementation runs; the greater, the faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kernels {
    /// The definition: one multiplication at a time, slow.
    Reference,
    /// Safe, portable Rust arranged for the compiler's vectorizer.
    Portable,
    /// AVX2.
    Avx2,
    /// AVX2 with VNNI.
    AvxVnni,
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AMX for 8-bit integers, and AVX-512 with VNNI.
    Amx,
    /// NEON.
    Neon,
    /// NEON with dot products.
    NeonDotprod,
    /// NEON with matrix products.
    NeonI8mm,
    /// WebAssembly with vectors of 128 bits.
    Simd128,
    /// The same with relaxed dot products, where they take codes for unsigned numbers.
    RelaxedSimd,
}

/// From slow to fast.
const ALL: [Kernels; 11] = [
    Kernels::Reference,
    Kernels::Portable,
    Kernels::Avx2,
    Kernels::AvxVnni,
    Kernels::Avx512Vnni,
    Kernels::Amx,
    Kernels::Neon,
    Kernels::NeonDotprod,
    Kernels::NeonI8mm,
    Kernels::Simd128,
    Kernels::RelaxedSimd,
];

impl Default for Kernels {
    /// The fastest that this machine can run.
    fn default() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }
}

impl Kernels {
    /// The kernels named by the environment variable `FGQ_KERNELS`, or the fastest for this machine.
    ///
    /// # Errors
    /// An unknown name, or kernels that this machine cannot run.
    pub fn from_env() -> Result<Self> {
        match std::env::var("FGQ_KERNELS") {
            Ok(name) if !name.is_empty() => Self::by_name(&name),
            _ => Ok(Self::default()),
        }
    }

    /// All kernels that this machine can run, from slow to fast.
    pub fn available() -> impl Iterator<Item = Self> {
        ALL.into_iter().filter(|kernels| kernels.is_available())
    }

    pub(super) fn by_name(name: &str) -> Result<Self> {
        let known = ALL.into_iter().find(|kernels| kernels.name() == name);
        let error = || refused(&format!("FGQ_KERNELS={name}: unknown kernels"));
        let kernels = known.ok_or_else(error)?;
        kernels.check()?;
        Ok(kernels)
    }

    /// Refuses kernels that this machine cannot run.
    pub(crate) fn check(self) -> Result<()> {
        let error = || refused(&format!("this machine cannot run the kernels '{}'", self.name()));
        if self.is_available() { Ok(()) } else { Err(error()) }
    }

    /// Multiplies for so many rounds, as fast as these kernels can; returns the number of products.
    pub(crate) fn multiply(self, rounds: usize) -> usize {
        self.isa().map_or_else(|| portable::multiply(rounds), |isa| isa.multiply(rounds))
    }

    /// The name by which `FGQ_KERNELS` selects these kernels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
            Self::Simd128 => "simd128",
            Self::RelaxedSimd => "relaxed-simd",
        }
    }

    /// Whether this machine can run them.
    pub fn is_available(self) -> bool {
        matches!(self, Self::Reference | Self::Portable) || self.isa().is_some()
    }

    /// The tiles of an instruction set, if this is one and the machine has it.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    pub(crate) fn isa(self) -> Option<&'static Isa> {
        super::x86_64::isa(self)
    }

    /// The tiles of an instruction set, if this is one and the machine has it.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    pub(crate) fn isa(self) -> Option<&'static Isa> {
        super::aarch64::isa(self)
    }

    /// The tiles of an instruction set, if this is one and the engine runs it.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    pub(crate) fn isa(self) -> Option<&'static Isa> {
        super::wasm32::isa(self)
    }

    /// The tiles of an instruction set, if this is one and the machine has it.
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128"),
        miri
    )))]
    pub(crate) fn isa(self) -> Option<&'static Isa> {
        None
    }

    /// Miri knows no tiles but plain ones, which take the place of the slowest.
    #[cfg(miri)]
    pub(crate) fn isa(self) -> Option<&'static Isa> {
        (self == Self::Avx2).then_some(&super::plain::PLAIN)
    }
}

fn refused(problem: &str) -> Error {
    let available: Vec<&str> = Kernels::available().map(Kernels::name).collect();
    Error::new(ErrorKind::Argument, format!("{problem}; available are: {}", available.join(", ")))
}
