
/* Groups so small that their sums are multiplied by the scale where they are. */
static int32_t is_small(const struct conv *c)
{
    return c->quads < 2;
}

/* What the sums of a group begin with, less those of its codes, which count twice: see wide_block. */
#define TWICE ((uint32_t)0x80000002)

/* Up to four codes in a word. */
static inline uint32_t codes_of(const uint8_t *from, int32_t count)
{
    uint32_t codes = 0;
    if (count >= 4) {
        return word_at(from);
    }
    while (count > 0) {
        codes = codes << 8 | from[--count];
    }
    return codes;
}

/* What two neighbouring windows see: before every group the sum of its codes, taken from what fits, then its codes, the
   first's at bit 2 of each word, the second's at bit 17. */
KERNEL void gather_fields(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                          uint32_t *seen)
{
    const struct window *w = &c->window;
    const int32_t quads = c->quads;
    int32_t row, column, left, group, n;
    for (row = 0; row < w->kernel[0]; row++) {
        for (column = 0; column < w->kernel[1]; column++) {
            const uint8_t *first = codes_at(w, in, zeros, at, row, column);
            const uint8_t *second = codes_at(w, in, zeros, at + 2, row, column);
            left = c->inputs;
            for (group = c->tap_groups; group > 0; group--) {
                uint32_t *start = seen++, sum = 0xffffffff;
                for (n = quads; n > 0; n--, left -= 4) {
                    const uint32_t a = codes_of(first, left), b = codes_of(second, left);
                    const uint32_t a_even = a << 2 & 0x03fc03fc, b_even = b << 1 & 0x01fe01fe;
                    const uint32_t a_odd = a >> 6 & 0x03fc03fc, b_odd = b >> 7 & 0x01fe01fe;
                    seen[0] = (a_even & 0xffff) | b_even << 16;
                    seen[1] = (a_odd & 0xffff) | b_odd << 16;
                    seen[2] = a_even >> 16 | (b_even & 0xffff0000);
                    seen[3] = a_odd >> 16 | (b_odd & 0xffff0000);
                    sum -= seen[0] + seen[1] + seen[2] + seen[3];
                    first += 4;
                    second += 4;
                    seen += 4;
                }
                *start = sum;
            }
        }
    }
}

static void see_ternary(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                        uint32_t *seen)
{
    if (is_small(c)) {
        gather_quads(&c->window, in, zeros, at, c->inputs, 1, 2, seen);
        gather_quads(&c->window, in, zeros, at + 2, c->inputs, 1, 2, seen + 2);
        return;
    }
    gather_fields(c, in, zeros, at, seen);
}

#define ROTATED(word, n) ((word) >> (n) | (word) << (32 - (n)))

/* Sums of 64 bits in two words. */
struct fields {
    uint32_t low, high;
};

static inline void add_product(struct fields *to, uint32_t a, uint32_t b)
{
#if defined(__GNUC__) && defined(__arm__)
    __asm__("umlal %0, %1, %2, %3" : "+r"(to->low), "+r"(to->high) : "r"(a), "r"(b));
#else
    const uint64_t sum = ((uint64_t)to->high << 32 | to->low) + (uint64_t)a * b;
    to->low = (uint32_t)sum;
    to->high = (uint32_t)(sum >> 32);
#endif
}

/* Two channels' weights, plus 2, the second's in the lowest bits, the first's in the highest, times two codes. */
#define WIDE_STEP(n) \
    add_product(&ab, mask & ROTATED(word, 8 * (n) + 2), seen[n]); \
    add_product(&cd, mask & ROTATED(word, 8 * (n) + 6), seen[n]);

/* Takes four sums of 15 bits out of 64 and adds them, times the group's scale. A sum below zero has borrowed from the
   next. */
static inline void add_fields(struct fields from, const uint8_t *scale, int32_t *totals)
{
    const int32_t low = (int32_t)from.low, high = (int32_t)(from.high + (from.low >> 31));
    const int32_t first = scale[0], second = scale[1];
    int32_t sums[4];
    sums[0] = totals[0] + first * ((int32_t)((uint32_t)high << 17) >> 17);
    sums[1] = totals[1] + second * ((int32_t)((uint32_t)low << 15) >> 17);
    sums[2] = totals[SUMS] + first * ((high + 0x4000) >> 15);
    sums[3] = totals[SUMS + 1] + second * ((low + 0x10000) >> 17);
    totals[0] = sums[0];
    totals[1] = sums[1];
    totals[SUMS] = sums[2];
    totals[SUMS + 1] = sums[3];
}

/* Adds the sums of four output channels at two positions. One instruction multiplies the weights of two channels by the
   codes of two positions and adds the four products to four sums of at most 64 inputs, at bits 2, 17, 32 and 47 of 64.
   Weights are 1, 2 and 3, so the sums begin with twice the codes' sums taken away. */
KERNEL void wide_block(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t groups,
                       int32_t *totals)
{
    const uint32_t mask = 0xc0000003, *code = from->codes;
    const uint8_t *scale = from->scales;
    const int32_t quads = c->quads;
    for (; groups > 0; groups--) {
        const uint64_t start = (uint64_t)*seen++ * TWICE - (uint64_t)0xffffffff * TWICE;
        const uint32_t *end = code + quads;
        struct fields ab = {(uint32_t)start, (uint32_t)(start >> 32)}, cd = ab;
        do {
            const uint32_t word = *code++ ^ 0xaaaaaaaa;
            WIDE_STEP(0)
            WIDE_STEP(1)
            WIDE_STEP(2)
            WIDE_STEP(3)
            seen += 4;
            HOLD(code);
            HOLD(seen);
        } while (code < end);
        BARRIER;
        add_fields(ab, scale, totals);
        add_fields(cd, scale + 2, totals + 2);
        scale += 4;
    }
    from->codes = code;
    from->scales = scale;
}

/* The weights of channel `n` for the first and third, or second and fourth, input of a quad: -1, 0 and 1 times 2^14. */
#define EVEN(n) ((int32_t)(tops & word << (14 - 2 * (n))))
#define ODD(n) ((int32_t)(tops & word << (6 - 2 * (n))))

/* Adds the sums of a group of a quad. Codes are multiplied by 4, so a sum is in the upper half of a word. */
#define SMALL_GROUP(n, first, second) \
    weights = EVEN(n); \
    HOLD(weights); \
    a = __smuad(weights, (int32_t)seen[0]); \
    b = __smuad(weights, (int32_t)seen[2]); \
    weights = ODD(n); \
    HOLD(weights); \
    a = __smlad(weights, (int32_t)seen[1], a); \
    b = __smlad(weights, (int32_t)seen[3], b); \
    first = __smlatb(a, scale[n], first); \
    second = __smlatb(b, scale[n], second);

/* Adds the sums of two output channels from `n` on at two positions. */
#define SMALL_PAIR(name, n) \
    KERNEL void name(const uint32_t *codes, const uint8_t *scale, const uint32_t *seen, int32_t groups, \
                     int32_t *totals) \
    { \
        const uint32_t *end = codes + groups; \
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, a, b, weights; \
        uint32_t tops = 0xc000c000; \
        HOLD(tops); \
        while (codes < end) { \
            const uint32_t word = *codes++; \
            SMALL_GROUP(n, s0, s1) \
            SMALL_GROUP((n) + 1, s2, s3) \
            seen += 4; \
            scale += 4; \
        } \
        totals[n] += s0, totals[SUMS + (n)] += s1, totals[(n) + 1] += s2, totals[SUMS + 1 + (n)] += s3; \
    }

SMALL_PAIR(small_first, 0)
SMALL_PAIR(small_second, 2)

static void ternary_block(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t groups,
                          int32_t *totals)
{
    if (is_small(c)) {
        small_first(from->codes, from->scales, seen, groups, totals);
        small_second(from->codes, from->scales, seen, groups, totals);
        from->codes += groups;
        from->scales += 4 * groups;
        return;
    }
    wide_block(c, from, seen, groups, totals);
}
