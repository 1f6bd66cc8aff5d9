
/* Groups of channels less their mean, divided by their deviation. */
struct norm {
    int32_t parts, positions; /* the image's positions: parts of so many that are normalised together */
    int16_t groups, size;     /* groups of so many channels */
    uint64_t epsilon;
    const int16_t *factor, *bias;
    const uint8_t *shift;
    int16_t offset;
    uint8_t zero, fraction, max;
};

/* The root of a number below 2^62, rounded down. */
static uint32_t root_of(uint64_t value)
{
    uint64_t root = 0, bit = (uint64_t)1 << 60;
    for (; bit; bit >>= 2) {
        if (value >= root + bit) {
            value -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
}

static void normalise(const struct norm *n, int32_t first, const uint8_t *in, uint8_t *out)
{
    const int32_t channels = (int32_t)n->groups * n->size;
    const int64_t count = (int64_t)n->positions * n->size;
    int64_t sum = 0, squares = 0, factor;
    int32_t position, i, shift = 44;
    uint64_t variance;
    for (position = 0; position < n->positions; position++) {
        for (i = 0; i < n->size; i++) {
            const int32_t distance = (int32_t)in[position * channels + first + i] - n->zero;
            sum += distance;
            squares += (int64_t)distance * distance;
        }
    }
    variance = (uint64_t)(count * squares - sum * sum) + n->epsilon;
    for (; variance < (uint64_t)1 << 60; variance <<= 2) {
        shift--;
    }
    factor = ((int64_t)1 << 60) / root_of(variance);
    for (position = 0; position < n->positions; position++) {
        for (i = 0; i < n->size; i++) {
            const int32_t channel = first + i, at = position * channels + channel;
            const int64_t standard = (count * ((int32_t)in[at] - n->zero) - sum) * factor;
            const int32_t rounded = (int32_t)((standard + (((int64_t)1 << shift) >> 1)) >> shift);
            const int32_t value = requantized(rounded, n->shift[channel], n->factor[channel]);
            out[at] = code_of(saturated16(value + n->bias[channel]), n->offset, n->fraction, 0, n->max);
        }
    }
}

static void group_norm(const struct norm *n, const uint8_t *in, uint8_t *out)
{
    const int32_t length = n->positions * n->groups * n->size;
    int32_t part, group;
    for (part = 0; part < n->parts; part++) {
        for (group = 0; group < n->groups; group++) {
            normalise(n, group * n->size, in + part * length, out + part * length);
        }
    }
}
