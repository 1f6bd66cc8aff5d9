
/* Codes that keep their values: extents, then the first place and the steps in the input and in the output. */
struct move {
    int32_t extents[3];
    int32_t from, from_steps[3];
    int32_t to, to_steps[3];
};

static void move(const struct move *m, const uint8_t *in, uint8_t *out)
{
    int32_t i, j, k;
    for (i = 0; i < m->extents[0]; i++) {
        for (j = 0; j < m->extents[1]; j++) {
            const uint8_t *source = in + m->from + i * m->from_steps[0] + j * m->from_steps[1];
            uint8_t *target = out + m->to + i * m->to_steps[0] + j * m->to_steps[1];
            for (k = 0; k < m->extents[2]; k++) {
                target[k * m->to_steps[2]] = source[k * m->from_steps[2]];
            }
        }
    }
}
