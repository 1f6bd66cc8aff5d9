
/* Negative numbers are two's complement and their shifts to the right arithmetic, as with every common compiler. */
#if (-1 >> 1) != -1
#error "needs arithmetic shifts"
#endif

/* Kept apart, so that each has the registers for itself. */
#ifdef __GNUC__
#define KERNEL static __attribute__((noinline))
#else
#define KERNEL static
#endif
