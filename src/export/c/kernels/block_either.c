    int32_t plane;
    if (!c->codes) {
        bytes_block(&from->bytes, pairs, taps * c->padded, sums);
        return;
    }
    for (plane = 0; plane < c->planes; plane++) {
        ternary_block(&from->codes, &from->scales, pairs, taps * c->tap_groups, c->quads, sums);
    }
