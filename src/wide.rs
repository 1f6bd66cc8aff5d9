//! Plain code compiled for wider registers than the crate's baseline.

#![allow(unsafe_code)]

use std::sync::LazyLock;

/// Wide registers that the compiler may use, and that the CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width(Registers);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registers {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

static WIDEST: LazyLock<Width> = LazyLock::new(|| Width::available().last().unwrap_or(Width::BASELINE));

impl Width {
    /// Registers of the target.
    pub const BASELINE: Self = Self(Registers::Baseline);

    /// # Safety
    /// Whoever has it runs on a CPU with AVX2.
    #[cfg(target_arch = "x86_64")]
    pub const unsafe fn avx2() -> Self {
        Self(Registers::Avx2)
    }

    /// # Safety
    /// Whoever has it runs on a CPU with AVX-512F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    pub const unsafe fn avx512() -> Self {
        Self(Registers::Avx512)
    }

    /// The widest that this machine has.
    #[inline]
    pub fn widest() -> Self {
        *WIDEST
    }

    /// All that this machine has, the widest last.
    #[cfg(target_arch = "x86_64")]
    pub fn available() -> impl Iterator<Item = Self> {
        use std::arch::is_x86_feature_detected as has;
        let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512vl");
        let wide = [(Registers::Avx2, has!("avx2")), (Registers::Avx512, avx512)];
        let found = wide.into_iter().filter_map(|(registers, has)| has.then_some(Self(registers)));
        std::iter::once(Self::BASELINE).chain(found.filter(|_| !cfg!(miri)))
    }

    /// All that this machine has, the widest last.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn available() -> impl Iterator<Item = Self> {
        std::iter::once(Self::BASELINE)
    }

    /// Runs `work`, which the compiler should be able to inline.
    #[inline(always)]
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        match self.0 {
            Registers::Baseline => work(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has the registers: nobody has got this width otherwise.
            Registers::Avx2 => unsafe { avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the same.
            Registers::Avx512 => unsafe { avx512(work) },
        }
    }
}

/// How `a·b + c` is computed.
#[cfg(feature = "convert")]
pub(crate) trait MultiplyAdd {
    fn multiply_add(a: f32, b: f32, c: f32) -> f32;
}

/// Rounded once, where the CPU has an instruction for it.
#[cfg(feature = "convert")]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
struct RoundedOnce;

/// Rounded twice.
#[cfg(feature = "convert")]
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
struct RoundedTwice;

#[cfg(feature = "convert")]
impl MultiplyAdd for RoundedOnce {
    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

#[cfg(feature = "convert")]
impl MultiplyAdd for RoundedTwice {
    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// Products of real numbers, in blocks of `LINES` times `VECTORS` times 16 lanes, whose sums the registers hold.
#[cfg(feature = "convert")]
pub(crate) trait Products {
    /// To be inlined.
    fn run<M: MultiplyAdd, const LINES: usize, const VECTORS: usize>(self);
}

/// Runs `products` as fast as this machine can; the rounding depends on the machine, on nothing else.
#[cfg(feature = "convert")]
#[inline]
pub(crate) fn multiply(products: impl Products) {
    #[cfg(target_arch = "x86_64")]
    {
        static HAS_FUSED: LazyLock<bool> = LazyLock::new(|| std::arch::is_x86_feature_detected!("fma"));
        match Width::widest().0 {
            // SAFETY: the CPU has the registers, see `Width::available`, and the instruction.
            Registers::Avx512 if *HAS_FUSED => unsafe { avx512_fused(products) },
            // SAFETY: the same.
            Registers::Avx2 if *HAS_FUSED => unsafe { avx2_fused(products) },
            _ => products.run::<RoundedTwice, 4, 1>(),
        }
    }
    #[cfg(target_arch = "aarch64")]
    products.run::<RoundedOnce, 4, 1>();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    products.run::<RoundedTwice, 4, 1>();
}

/// # Safety
/// The CPU has AVX2 and FMA.
#[cfg(all(target_arch = "x86_64", feature = "convert"))]
#[target_feature(enable = "avx2,fma")]
fn avx2_fused(products: impl Products) {
    products.run::<RoundedOnce, 4, 1>();
}

/// # Safety
/// The CPU has AVX-512F, BW, VL and FMA.
#[cfg(all(target_arch = "x86_64", feature = "convert"))]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
fn avx512_fused(products: impl Products) {
    products.run::<RoundedOnce, 8, 3>();
}

/// A function of every value; one that the compiler should be able to inline.
#[cfg(feature = "convert")]
#[inline(always)]
pub(crate) fn map(values: &[f32], function: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut results = vec![0.0; values.len()];
    Width::widest().run(
        #[inline(always)]
        || results.iter_mut().zip(values).for_each(|(result, &value)| *result = function(value)),
    );
    results
}

/// Replaces every value by a function of it; one that the compiler should be able to inline.
#[cfg(feature = "convert")]
#[inline(always)]
pub(crate) fn replace(values: &mut [f32], function: impl Fn(f32) -> f32) {
    Width::widest().run(
        #[inline(always)]
        || values.iter_mut().for_each(|value| *value = function(*value)),
    );
}

/// Replaces every value by a function of it and its partner; one that the compiler should be able to inline.
#[cfg(feature = "convert")]
#[inline(always)]
pub(crate) fn replace_pairs(values: &mut [f32], partners: &[f32], function: impl Fn(f32, f32) -> f32) {
    Width::widest().run(
        #[inline(always)]
        || values.iter_mut().zip(partners).for_each(|(value, &partner)| *value = function(*value, partner)),
    );
}

/// A function of every pair of values; one that the compiler should be able to inline.
#[cfg(feature = "convert")]
#[inline(always)]
pub(crate) fn map_pairs(left: &[f32], right: &[f32], function: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let mut results = vec![0.0; left.len()];
    Width::widest().run(
        #[inline(always)]
        || {
            let pairs = left.iter().zip(right);
            results.iter_mut().zip(pairs).for_each(|(result, (&a, &b))| *result = function(a, b));
        },
    );
    results
}

/// Whether all values are numbers and none is infinite.
#[cfg(feature = "convert")]
pub(crate) fn are_finite(values: &[f32]) -> bool {
    let mut largest = 0;
    Width::widest().run(
        #[inline(always)]
        || values.iter().for_each(|value| largest = largest.max(value.to_bits() & 0x7FFF_FFFF)),
    );
    largest < f32::INFINITY.to_bits()
}

/// The sum of all values, in an order that does not depend on the width.
#[cfg(feature = "convert")]
pub(crate) fn total(values: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    Width::widest().run(
        #[inline(always)]
        || blocks.iter().for_each(|block| (0..16).for_each(|lane| lanes[lane] += block[lane])),
    );
    lanes.iter().chain(rest).map(|&value| f64::from(value)).sum::<f64>() as f32
}

/// Running sums of [`sums`], whatever the width.
#[cfg(feature = "convert")]
const LANES: usize = 8;

/// The sums of each term over `0..len`, in an order that does not depend on the width.
#[cfg(feature = "convert")]
pub(crate) fn sums<const N: usize>(len: usize, terms: impl Fn(usize) -> [f64; N]) -> [f64; N] {
    let add = |sums: &mut [f64; N], at: usize| {
        sums.iter_mut().zip(terms(at)).for_each(|(sum, term)| *sum += term);
    };
    Width::widest().run(
        #[inline(always)]
        || {
            let mut lanes = [[0.0; N]; LANES];
            for start in (0..len / LANES).map(|block| block * LANES) {
                lanes.iter_mut().enumerate().for_each(|(lane, sums)| add(sums, start + lane));
            }
            (len / LANES * LANES..len).for_each(|at| add(&mut lanes[0], at));
            std::array::from_fn(|of| lanes.iter().map(|sums| sums[of]).sum())
        },
    )
}

/// # Safety
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// # Safety
/// The CPU has AVX-512F, BW and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(all(test, feature = "convert"))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_and_others_are_not() {
        assert!(are_finite(&[]) && are_finite(&[0.0, -f32::MAX, f32::MIN_POSITIVE / 2.0]));
        for other in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 100];
            values[63] = other;
            assert!(!are_finite(&values));
        }
    }

    #[test]
    fn totals_miss_nothing() {
        for len in [0, 1, 15, 16, 17, 1001u16] {
            let values: Vec<f32> = (0..len).map(f32::from).collect();
            assert_eq!(2.0 * total(&values), f32::from(len) * (f32::from(len) - 1.0).max(0.0));
        }
    }

    #[test]
    fn sums_miss_nothing() {
        for len in [0, 1, 7, 8, 9, 64, 1001] {
            let n = len as f64;
            let [ones, values, squares] = sums(len, |at| [1.0, at as f64, (at * at) as f64]);
            assert_eq!([ones, 2.0 * values], [n, n * (n - 1.0).max(0.0)]);
            assert_eq!(6.0 * squares, (n - 1.0).max(0.0) * n * (2.0 * n - 1.0));
        }
    }
}
