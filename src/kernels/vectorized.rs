//! Plain code compiled for wider registers than the crate's baseline.

#![allow(unsafe_code)]

/// Wide registers that the compiler may use. Only [`super::Kernels::isa`] hands them out, where the CPU has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Those of the target.
    #[allow(dead_code)]
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Width {
    /// Runs `work`, which the compiler should be able to inline.
    #[inline(always)]
    pub fn run(self, work: impl FnOnce()) {
        // SAFETY: the CPU has the registers, see above.
        match self {
            Self::Baseline => work(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2(work) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(work: impl FnOnce()) {
    work();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512(work: impl FnOnce()) {
    work();
}
