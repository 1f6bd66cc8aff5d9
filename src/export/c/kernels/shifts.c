
/* Negative numbers are two's complement and their shifts to the right arithmetic, as with every common compiler. */
#if (-1 >> 1) != -1
#error "needs arithmetic shifts"
#endif
