//! Nothing but multiplications, in registers: the rate that convolutions are measured against.

use std::arch::asm;

/// Defines a loop of multiplications whose sums do not wait for each other; returns the number of products.
macro_rules! peak {
    ($(#[$feature:meta])* fn $name:ident, $products:literal; $($line:literal)+; $($register:tt)+) => {
        /// # Safety
        /// The CPU has the instructions.
        $(#[$feature])*
        pub(super) fn $name(rounds: usize) -> usize {
            // SAFETY: the CPU has the instructions; only registers named here are written, and no memory.
            unsafe {
                asm!(
                    "2:",
                    $($line,)+
                    "subs {rounds}, {rounds}, #1",
                    "b.ne 2b",
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
    #[target_feature(enable = "neon,dotprod")]
    fn dotprod, 384;
    "sdot v0.4s, v30.16b, v31.4b[0]"
    "sdot v1.4s, v30.16b, v31.4b[0]"
    "sdot v2.4s, v30.16b, v31.4b[0]"
    "sdot v3.4s, v30.16b, v31.4b[0]"
    "sdot v4.4s, v30.16b, v31.4b[0]"
    "sdot v5.4s, v30.16b, v31.4b[0]"
    "sdot v6.4s, v30.16b, v31.4b[0]"
    "sdot v7.4s, v30.16b, v31.4b[0]"
    "sdot v8.4s, v30.16b, v31.4b[0]"
    "sdot v9.4s, v30.16b, v31.4b[0]"
    "sdot v10.4s, v30.16b, v31.4b[0]"
    "sdot v11.4s, v30.16b, v31.4b[0]"
    "sdot v12.4s, v30.16b, v31.4b[0]"
    "sdot v13.4s, v30.16b, v31.4b[0]"
    "sdot v14.4s, v30.16b, v31.4b[0]"
    "sdot v15.4s, v30.16b, v31.4b[0]"
    "sdot v16.4s, v30.16b, v31.4b[0]"
    "sdot v17.4s, v30.16b, v31.4b[0]"
    "sdot v18.4s, v30.16b, v31.4b[0]"
    "sdot v19.4s, v30.16b, v31.4b[0]"
    "sdot v20.4s, v30.16b, v31.4b[0]"
    "sdot v21.4s, v30.16b, v31.4b[0]"
    "sdot v22.4s, v30.16b, v31.4b[0]"
    "sdot v23.4s, v30.16b, v31.4b[0]";
    "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11"
    "v12" "v13" "v14" "v15" "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"
}

peak! {
    #[target_feature(enable = "neon,i8mm")]
    fn i8mm, 768;
    "usmmla v0.4s, v30.16b, v31.16b"
    "usmmla v1.4s, v30.16b, v31.16b"
    "usmmla v2.4s, v30.16b, v31.16b"
    "usmmla v3.4s, v30.16b, v31.16b"
    "usmmla v4.4s, v30.16b, v31.16b"
    "usmmla v5.4s, v30.16b, v31.16b"
    "usmmla v6.4s, v30.16b, v31.16b"
    "usmmla v7.4s, v30.16b, v31.16b"
    "usmmla v8.4s, v30.16b, v31.16b"
    "usmmla v9.4s, v30.16b, v31.16b"
    "usmmla v10.4s, v30.16b, v31.16b"
    "usmmla v11.4s, v30.16b, v31.16b"
    "usmmla v12.4s, v30.16b, v31.16b"
    "usmmla v13.4s, v30.16b, v31.16b"
    "usmmla v14.4s, v30.16b, v31.16b"
    "usmmla v15.4s, v30.16b, v31.16b"
    "usmmla v16.4s, v30.16b, v31.16b"
    "usmmla v17.4s, v30.16b, v31.16b"
    "usmmla v18.4s, v30.16b, v31.16b"
    "usmmla v19.4s, v30.16b, v31.16b"
    "usmmla v20.4s, v30.16b, v31.16b"
    "usmmla v21.4s, v30.16b, v31.16b"
    "usmmla v22.4s, v30.16b, v31.16b"
    "usmmla v23.4s, v30.16b, v31.16b";
    "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11"
    "v12" "v13" "v14" "v15" "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23"
}

// Two steps in 16 bits, then added up in 32.
peak! {
    #[target_feature(enable = "neon")]
    fn neon, 128;
    "smull v16.8h, v30.8b, v31.8b"
    "smull v17.8h, v30.8b, v31.8b"
    "smull v18.8h, v30.8b, v31.8b"
    "smull v19.8h, v30.8b, v31.8b"
    "smull v20.8h, v30.8b, v31.8b"
    "smull v21.8h, v30.8b, v31.8b"
    "smull v22.8h, v30.8b, v31.8b"
    "smull v23.8h, v30.8b, v31.8b"
    "smlal v16.8h, v30.8b, v31.8b"
    "smlal v17.8h, v30.8b, v31.8b"
    "smlal v18.8h, v30.8b, v31.8b"
    "smlal v19.8h, v30.8b, v31.8b"
    "smlal v20.8h, v30.8b, v31.8b"
    "smlal v21.8h, v30.8b, v31.8b"
    "smlal v22.8h, v30.8b, v31.8b"
    "smlal v23.8h, v30.8b, v31.8b"
    "sadalp v0.4s, v16.8h"
    "sadalp v1.4s, v17.8h"
    "sadalp v2.4s, v18.8h"
    "sadalp v3.4s, v19.8h"
    "sadalp v4.4s, v20.8h"
    "sadalp v5.4s, v21.8h"
    "sadalp v6.4s, v22.8h"
    "sadalp v7.4s, v23.8h";
    "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v16" "v17" "v18" "v19"
    "v20" "v21" "v22" "v23"
}
