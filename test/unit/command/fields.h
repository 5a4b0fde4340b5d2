/* The fields of every command, listed a second time and by hand, so that a field which the codec's own table
 * forgets or puts elsewhere is noticed.
 */
#ifndef TEST_COMMAND_FIELDS_H
#define TEST_COMMAND_FIELDS_H

#include "consensus/command.h"

enum field_kind { FIELD_NUMBER, FIELD_CHOICE, FIELD_BOOL, FIELD_SPAN, FIELD_RAW };
struct field {
    enum field_kind kind;
    void *p;
    size_t size;  /* of the number, of raw bytes; of a span: the most */
    uint32_t min; /* CHOICE: smallest value; SPAN: fewest bytes */
    uint32_t max; /* CHOICE */
};
#define FIELDS_MAX 256
struct fields {
    struct field at[FIELDS_MAX];
    size_t n;
};

extern const uint8_t command_types[];
extern const size_t ncommand_types;

/* The fields of c->type, origin included. */
void fields_of(struct command *c, struct fields *out);

#endif
