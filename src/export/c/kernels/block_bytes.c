    bytes_block(&from->bytes, pairs, taps * c->padded, sums);
