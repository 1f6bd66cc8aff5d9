//! Nothing but multiplications, in registers: the rate that convolutions are measured against.

use std::arch::asm;

/// Defines a loop of multiplications whose sums do not wait for each other; returns the number of products.
macro_rules! peak {
    ($(#[$feature:meta])* fn $name:ident, $products:literal; $($register:tt: $($line:literal),+;)+) => {
        /// # Safety
        /// The CPU has the instructions.
        $(#[$feature])*
        pub(super) fn $name(rounds: usize) -> usize {
            // SAFETY: the CPU has the instructions; only registers named here are written, and no memory.
            unsafe {
                asm!(
                    "2:",
                    $($($line,)+)+
                    "dec {rounds}",
                    "jnz 2b",
                    rounds = inout(reg) rounds.max(1) => _,
                    $(out($register) _,)+
                    options(nostack, nomem),
                );
            }
            rounds.max(1) * $products
        }
    };
}

peak! {
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn avx512_vnni, 768;
    "zmm0": "vpdpbusd zmm0, zmm30, zmm31";
    "zmm1": "vpdpbusd zmm1, zmm30, zmm31";
    "zmm2": "vpdpbusd zmm2, zmm30, zmm31";
    "zmm3": "vpdpbusd zmm3, zmm30, zmm31";
    "zmm4": "vpdpbusd zmm4, zmm30, zmm31";
    "zmm5": "vpdpbusd zmm5, zmm30, zmm31";
    "zmm6": "vpdpbusd zmm6, zmm30, zmm31";
    "zmm7": "vpdpbusd zmm7, zmm30, zmm31";
    "zmm8": "vpdpbusd zmm8, zmm30, zmm31";
    "zmm9": "vpdpbusd zmm9, zmm30, zmm31";
    "zmm10": "vpdpbusd zmm10, zmm30, zmm31";
    "zmm11": "vpdpbusd zmm11, zmm30, zmm31";
}

peak! {
    #[target_feature(enable = "avx2,avxvnni")]
    fn avx_vnni, 384;
    "ymm0": "{{vex}} vpdpbusd ymm0, ymm14, ymm15";
    "ymm1": "{{vex}} vpdpbusd ymm1, ymm14, ymm15";
    "ymm2": "{{vex}} vpdpbusd ymm2, ymm14, ymm15";
    "ymm3": "{{vex}} vpdpbusd ymm3, ymm14, ymm15";
    "ymm4": "{{vex}} vpdpbusd ymm4, ymm14, ymm15";
    "ymm5": "{{vex}} vpdpbusd ymm5, ymm14, ymm15";
    "ymm6": "{{vex}} vpdpbusd ymm6, ymm14, ymm15";
    "ymm7": "{{vex}} vpdpbusd ymm7, ymm14, ymm15";
    "ymm8": "{{vex}} vpdpbusd ymm8, ymm14, ymm15";
    "ymm9": "{{vex}} vpdpbusd ymm9, ymm14, ymm15";
    "ymm10": "{{vex}} vpdpbusd ymm10, ymm14, ymm15";
    "ymm11": "{{vex}} vpdpbusd ymm11, ymm14, ymm15";
}

// Pairs of products in 16 bits, added there: what a step costs when the scale comes once in a long while.
peak! {
    #[target_feature(enable = "avx2")]
    fn avx2, 192;
    "ymm0": "vpmaddubsw ymm6, ymm14, ymm15", "vpaddw ymm0, ymm0, ymm6";
    "ymm1": "vpmaddubsw ymm7, ymm14, ymm15", "vpaddw ymm1, ymm1, ymm7";
    "ymm2": "vpmaddubsw ymm8, ymm14, ymm15", "vpaddw ymm2, ymm2, ymm8";
    "ymm3": "vpmaddubsw ymm9, ymm14, ymm15", "vpaddw ymm3, ymm3, ymm9";
    "ymm4": "vpmaddubsw ymm10, ymm14, ymm15", "vpaddw ymm4, ymm4, ymm10";
    "ymm5": "vpmaddubsw ymm11, ymm14, ymm15", "vpaddw ymm5, ymm5, ymm11";
    "ymm6": ""; "ymm7": ""; "ymm8": ""; "ymm9": ""; "ymm10": ""; "ymm11": "";
}

/// The same in tiles.
///
/// # Safety
/// The CPU has AMX, its tiles are configured as 16 rows of 64 bytes each, and nobody needs what they hold.
pub(super) unsafe fn amx(rounds: usize) -> usize {
    // SAFETY: as the caller promises; no other register is written, and no memory.
    unsafe {
        asm!(
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds.max(1) => _,
            options(nostack, nomem),
        );
    }
    rounds.max(1) * 4 * 16 * 16 * 64
}
