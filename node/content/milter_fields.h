/* A message's header while filters change it: its fields in their order, and what was added, changed and
 * deleted. Positions are those of sendmail, for which filters are written: a field that was deleted keeps its
 * place and its number, and our own trace field, which no filter is shown, has the first place. Pure.
 */
#ifndef NODE_CONTENT_MILTER_FIELDS_H
#define NODE_CONTENT_MILTER_FIELDS_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

#define MILTER_CHANGES_MAX 1000u         /* of one message, by all filters */
#define MILTER_CHANGED_BYTES (64u << 10) /* that they may add to its header */

struct milter_field {
    struct span text; /* with its line's end; in the header, or `own` */
    char *own;
    bool hidden, gone;
};

struct milter_fields {
    struct milter_field *items;
    uint32_t n, cap, changes;
    size_t added;   /* bytes */
    bool eight_bit; /* something that was added has octets over 127 */
};

/* The header ends with its empty line, and must live as long. The first field, if it is Received, is ours and
 * hidden, and so is what has no name. 0 or -ENOMEM. */
int milter_fields_read(struct milter_fields *f, struct span header);
void milter_fields_fini(struct milter_fields *f);

/* What a filter is told of the i-th: false for one that it is not. The value has its lines' ends as it has.
 */
bool milter_fields_show(const struct milter_fields *f, uint32_t i, struct span *name, struct span *value);

/* ERR_BAD: what can be no field; ERR_LIMIT; -ENOMEM: then nothing has changed. A line's end in a value begins
 * a line that belongs to the same field, whatever it stands before. `blank`: the value brings what stands
 * behind the colon. An index counts from 0 for _insert, and for _change, from 1, fields of that name; one
 * that is not there is added; an empty value deletes. */
int milter_fields_add(struct milter_fields *f, struct span name, struct span value, bool blank);
int milter_fields_insert(struct milter_fields *f, uint32_t index, struct span name, struct span value,
                         bool blank);
int milter_fields_change(struct milter_fields *f, uint32_t index, struct span name, struct span value,
                         bool blank);

/* Appends the header as it is now, with the empty line. The buffer's error. */
int milter_fields_put(const struct milter_fields *f, struct buf *out);

#endif
