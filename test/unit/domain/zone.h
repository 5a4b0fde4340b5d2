/* A small DNS for tests of SPF: records as text, answers in wire format. */
#ifndef TEST_DOMAIN_ZONE_H
#define TEST_DOMAIN_ZONE_H

#include "node/domain/spf.h"

struct zone_record {
    const char *name;
    enum spf_type type;
    const char *text; /* an address, a host, "10 host", or text, "|" between its strings; NULL: SERVFAIL */
};

#define ZONE_RECORDS_MAX 16
struct zone_answer {
    struct spf_answer answer;
    struct span spans[ZONE_RECORDS_MAX];
    char data[ZONE_RECORDS_MAX][1024];
};

/* A name with records of another type only has none of this one; a name without any does not exist. */
void zone_answer(const struct zone_record *zone, size_t n, const struct spf_question *q,
                 struct zone_answer *out);

#endif
