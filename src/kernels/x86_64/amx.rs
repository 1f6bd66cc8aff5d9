//! AMX: 32 positions × 32 channels in four tile registers. Its instructions have no stable intrinsics.

use super::avx512::{ORDER, depthwise, finish};
use super::peak;
use crate::kernels::blocked::{Form, Isa, Mode, Promise, Run, Tile};
use crate::wide::Width;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// See [`Isa`].
pub(super) static AMX: Isa = Isa {
    strips: &[16, 14, 12, 10, 8],
    shortens: false,
    form: Form::Even,
    // SAFETY: as for the promise.
    width: unsafe { Width::avx512() },
    order: ORDER,
    mode: Some(Mode { begin, end }),
    // SAFETY: `super::isa` hands it out where the CPU has AMX for 8-bit integers, which the system lets this process use, and
    // all that `AVX512_VNNI` needs; the functions below and those of `AVX512_VNNI` keep to what they must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply,
};

/// Shapes of the tile registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Whether the CPU has AMX for 8-bit integers and the system lets this process use it; asks for permission.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_tiles() && permitted())
}

/// CPUID leaf 7: bits 24 and 25 of EDX are AMX-TILE and AMX-INT8.
fn has_tiles() -> bool {
    __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).edx >> 24 & 3 == 3
}

/// Asks Linux for the large register state: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    let mut result: i64 = 158;
    // SAFETY: this system call changes no memory of the process; the kernel overwrites rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") 0x1023, in("rsi") 18, out("rcx") _, out("r11") _);
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Four sums and two inputs of `len` positions, two tiles of weights of `steps` steps.
///
/// # Safety
/// The CPU has AMX; `len` and `steps` are at most 16, and at least 1.
unsafe fn begin(len: usize, steps: usize) {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    row_bytes[..8].fill(64);
    row_bytes[4..6].fill(4 * steps as u16);
    rows[..6].fill(len as u8);
    rows[6..8].fill(steps as u8);
    let config = TileConfig { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows };
    // SAFETY: the configuration is valid for palette 1, as the caller promises: at most 16 rows of 64 bytes. It is 64 bytes
    // long, and only read.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
}

/// # Safety
/// The CPU has AMX.
unsafe fn multiply(rounds: usize) -> usize {
    // SAFETY: as the caller promises.
    unsafe { begin(16, 16) };
    // SAFETY: `begin` has configured the registers.
    let products = unsafe { peak::amx(rounds) };
    // SAFETY: the multiplications are over.
    unsafe { end() };
    products
}

/// # Safety
/// The CPU has AMX, and nobody needs the tile registers any more.
unsafe fn end() {
    // SAFETY: as the caller promises; no memory changes.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// # Safety
/// As [`Tile`] says.
unsafe fn tile(tile: &Tile) {
    match tile.count {
        // SAFETY: as the caller promises.
        1 => unsafe { one_strip(tile) },
        // SAFETY: as the caller promises.
        _ => unsafe { two_strips(tile) },
    }
}

/// What the assembly reads from memory, at multiples of eight bytes: builds with frame pointers or sanitizers leave
/// it 13 registers.
#[repr(C)]
struct Rest {
    runs_end: *const Run,
    lines: usize,
    sums: *mut i32,
    /// Bytes between the sums of the strips.
    strip: usize,
}

/// Defines the sums of a tile. Each operand of the next run is loaded as soon as nobody needs the last one.
macro_rules! sums {
    (
        fn $name:ident; zero $($zero:literal)+; first $($first:literal)+; run $($run:literal)+; last $($last:literal)+;
        store $($store:literal)+
    ) => {
        /// # Safety
        /// As [`Tile`] says.
        unsafe fn $name(tile: &Tile) {
            let rest = Rest {
                runs_end: tile.runs.as_ptr_range().end,
                lines: tile.lines,
                sums: tile.sums,
                strip: tile.len * 128,
            };
            // SAFETY: each run reads its steps' bytes of each position and its part of the panel, and all have as many steps;
            // `begin` has configured the registers; `sums` has rows of 128 bytes for all positions of all strips; the
            // registers and tiles written are named, or set by every tile.
            unsafe {
                asm!(
                    $($zero,)+
                    "mov {first:e}, dword ptr [{runs}]",
                    "lea {second}, [{b} + {first}]",
                    "add {first}, {a}",
                    $($first,)+
                    "2:",
                    "add {runs}, 8",
                    "cmp {runs}, qword ptr [{rest}]",
                    "je 5f",
                    "add {weights}, {bytes}",
                    "mov {first:e}, dword ptr [{runs}]",
                    "lea {second}, [{b} + {first}]",
                    "add {first}, {a}",
                    $($run,)+
                    "mov {line}, qword ptr [{rest} + 8]",
                    "test {line}, {line}",
                    "jz 2b",
                    "3:",
                    "prefetcht1 [{ahead}]",
                    "add {ahead}, 64",
                    "dec {line}",
                    "jnz 3b",
                    "jmp 2b",
                    "5:",
                    $($last,)+
                    "mov {first}, qword ptr [{rest} + 16]",
                    $($store,)+
                    first = out(reg) _,
                    second = out(reg) _,
                    line = out(reg) _,
                    ahead = inout(reg) tile.ahead => _,
                    runs = inout(reg) tile.runs.as_ptr() => _,
                    rest = in(reg) &rest,
                    a = in(reg) tile.strips[0],
                    b = in(reg) tile.strips[1],
                    step = in(reg) tile.step,
                    wide = in(reg) 128usize,
                    bytes = in(reg) tile.runs.first().map_or(0, |run| run.steps as usize * 128),
                    weights = inout(reg) tile.weights => _,
                    options(nostack),
                );
            }
        }
    };
}

sums! {
    fn two_strips;
    zero "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3";
    first
        "tileloadd tmm4, [{first} + {step}*1]"
        "tileloadd tmm6, [{weights} + {wide}*1]"
        "tileloadd tmm7, [{weights} + {wide}*1 + 64]"
        "tileloadd tmm5, [{second} + {step}*1]";
    run
        "tdpbusd tmm0, tmm4, tmm6"
        "tdpbusd tmm1, tmm4, tmm7"
        "tileloadd tmm4, [{first} + {step}*1]"
        "tdpbusd tmm2, tmm5, tmm6"
        "tileloadd tmm6, [{weights} + {wide}*1]"
        "tdpbusd tmm3, tmm5, tmm7"
        "tileloadd tmm5, [{second} + {step}*1]"
        "tileloadd tmm7, [{weights} + {wide}*1 + 64]";
    last
        "tdpbusd tmm0, tmm4, tmm6"
        "tdpbusd tmm1, tmm4, tmm7"
        "tdpbusd tmm2, tmm5, tmm6"
        "tdpbusd tmm3, tmm5, tmm7";
    store
        "tilestored [{first} + {wide}*1], tmm0"
        "tilestored [{first} + {wide}*1 + 64], tmm1"
        "add {first}, qword ptr [{rest} + 24]"
        "tilestored [{first} + {wide}*1], tmm2"
        "tilestored [{first} + {wide}*1 + 64], tmm3"
}

sums! {
    fn one_strip;
    zero "tilezero tmm0" "tilezero tmm1";
    first
        "tileloadd tmm4, [{first} + {step}*1]"
        "tileloadd tmm6, [{weights} + {wide}*1]"
        "tileloadd tmm7, [{weights} + {wide}*1 + 64]";
    run
        "tdpbusd tmm0, tmm4, tmm6"
        "tdpbusd tmm1, tmm4, tmm7"
        "tileloadd tmm4, [{first} + {step}*1]"
        "tileloadd tmm6, [{weights} + {wide}*1]"
        "tileloadd tmm7, [{weights} + {wide}*1 + 64]";
    last
        "tdpbusd tmm0, tmm4, tmm6"
        "tdpbusd tmm1, tmm4, tmm7";
    store
        "tilestored [{first} + {wide}*1], tmm0"
        "tilestored [{first} + {wide}*1 + 64], tmm1"
}
