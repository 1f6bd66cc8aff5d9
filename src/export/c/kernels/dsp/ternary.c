
/* Groups so small that their sums are multiplied by the scale where they are. */
static int32_t is_small(const struct conv *c)
{
    return c->quads < 2;
}

/* What the sums of a group begin with, less those of its codes, which count twice: see wide_block. */
#define HALF_OF_FIELDS ((uint64_t)0x20004000 << 32 | 0x80010000u)
#define TWICE ((uint32_t)0x80000002)

/* What two neighbouring windows see: before every group the sum of its codes, taken from what fits, then its codes, the first's at
   bit 2 of each word, the second's at bit 17. */
KERNEL void gather_fields(const struct conv *c, const uint8_t *in, const uint8_t *zeros, const int32_t at[4],
                          uint32_t *seen)
{
    const struct window *w = &c->window;
    const int32_t inputs = c->inputs, size = 4 * c->quads, padded = c->padded;
    int32_t row, column, i, end;
    for (row = 0; row < w->kernel[0]; row++) {
        for (column = 0; column < w->kernel[1]; column++) {
            const uint8_t *first = codes_at(w, in, zeros, at, row, column);
            const uint8_t *second = codes_at(w, in, zeros, at + 2, row, column);
            for (i = 0, end = size; i < padded; end += size) {
                uint32_t *start = seen++, sum = 0xffffffff;
                for (; i < end && i < inputs; i++) {
                    const uint32_t pair = (uint32_t)*first++ << 2 | (uint32_t)*second++ << 17;
                    *seen++ = pair;
                    sum -= pair;
                }
                for (; i < end; i++) {
                    *seen++ = 0;
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

/* Two channels' weights, plus 2, the second's in the lowest bits, the first's in the highest, times two codes. */
#define WIDE_STEP(n) \
    x = seen[n]; \
    ab += (uint64_t)(fields & ROTATED(word, 8 * (n) + 2)) * x; \
    cd += (uint64_t)(fields & ROTATED(word, 8 * (n) + 6)) * x;

/* Takes four sums of 15 bits out of 64 and adds them, times the group's scale. */
#define ADD_FIELDS(n, all) \
    low = (uint32_t)(all) ^ 0x80010000u, high = (uint32_t)((all) >> 32) ^ 0x20004000u; \
    sums[n] += scale[n] * ((int32_t)(high << 17) >> 17); \
    sums[4 + (n)] += scale[n] * ((int32_t)(high << 2) >> 17); \
    sums[(n) + 1] += scale[(n) + 1] * ((int32_t)(low << 15) >> 17); \
    sums[5 + (n)] += scale[(n) + 1] * ((int32_t)low >> 17);

/* Adds the sums of four output channels at two positions. One instruction multiplies the weights of two channels by the
   codes of two positions and adds the four products to four sums, at bits 2, 17, 32 and 47 of 64. Weights are 1, 2 and 3,
   so the sums begin with twice the codes' sums taken away, and with half of what fits, so that none is negative. */
KERNEL void wide_block(const uint32_t **codes, const uint8_t **scales, const uint32_t *seen, int32_t groups,
                       int32_t quads, int32_t totals[8])
{
    const uint32_t fields = 0xc0000003;
    const uint32_t *code = *codes;
    const uint8_t *scale = *scales;
    int32_t sums[8] = {0, 0, 0, 0, 0, 0, 0, 0}, i;
    for (; groups > 0; groups--) {
        uint64_t ab = HALF_OF_FIELDS - (uint64_t)0xffffffff * TWICE + (uint64_t)*seen++ * TWICE, cd = ab;
        uint32_t low, high, x;
        int32_t n = quads;
        do {
            const uint32_t word = *code++ ^ 0xaaaaaaaa;
            WIDE_STEP(0)
            WIDE_STEP(1)
            WIDE_STEP(2)
            WIDE_STEP(3)
            seen += 4;
        } while (--n > 0);
        ADD_FIELDS(0, ab)
        ADD_FIELDS(2, cd)
        scale += 4;
    }
    for (i = 0; i < 8; i++) {
        totals[i] += sums[i];
    }
    *codes = code;
    *scales = scale;
}

/* The weights of channel `n` for the first and third, or second and fourth, input of a quad: -1, 0 and 1 times 2^14. */
#define EVEN(n) ((int32_t)(tops & word << (14 - 2 * (n))))
#define ODD(n) ((int32_t)(tops & word << (6 - 2 * (n))))
#define SMALL_STEP(n, a, b) \
    weights = EVEN(n); \
    a = __smlad(weights, (int32_t)seen[0], a); \
    b = __smlad(weights, (int32_t)seen[2], b); \
    weights = ODD(n); \
    a = __smlad(weights, (int32_t)seen[1], a); \
    b = __smlad(weights, (int32_t)seen[3], b);

/* Adds the sums of two output channels from `n` on at two positions. Codes are multiplied by 4, so a group's sum is in
   the upper half of a word. */
#define SMALL_PAIR(name, n) \
    KERNEL void name(const uint32_t *codes, const uint8_t *scale, const uint32_t *seen, int32_t groups, \
                     int32_t quads, int32_t *totals) \
    { \
        const uint32_t tops = 0xc000c000; \
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0; \
        for (; groups > 0; groups--) { \
            int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0, weights, i = quads; \
            do { \
                const uint32_t word = *codes++; \
                SMALL_STEP(n, a0, a1) \
                SMALL_STEP((n) + 1, b0, b1) \
                seen += 4; \
            } while (--i > 0); \
            s0 = __smlatb(a0, scale[n], s0); \
            s1 = __smlatb(a1, scale[n], s1); \
            s2 = __smlatb(b0, scale[(n) + 1], s2); \
            s3 = __smlatb(b1, scale[(n) + 1], s3); \
            scale += 4; \
        } \
        totals[n] += s0, totals[4 + (n)] += s1, totals[(n) + 1] += s2, totals[5 + (n)] += s3; \
    }

SMALL_PAIR(small_first, 0)
SMALL_PAIR(small_second, 2)

static void ternary_block(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t groups,
                          int32_t totals[8])
{
    if (is_small(c)) {
        small_first(from->codes, from->scales, seen, groups, c->quads, totals);
        small_second(from->codes, from->scales, seen, groups, c->quads, totals);
        from->codes += groups * c->quads;
        from->scales += 4 * groups;
        return;
    }
    wide_block(&from->codes, &from->scales, seen, groups, c->quads, totals);
}

static void ternary_sums(const struct conv *c, struct weights *from, const uint32_t *seen, int32_t sums[8])
{
    const int32_t groups = (int32_t)c->window.kernel[0] * c->window.kernel[1] * c->tap_groups;
    int32_t plane;
    for (plane = 0; plane < c->planes; plane++) {
        ternary_block(c, from, seen, groups, sums);
    }
}
