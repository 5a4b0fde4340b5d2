/* What a header of a shared host's mail says of the script, site or user that sent it: found in the header,
 * and brought into one form, so that one sender has one name (docs/web-senders.md). The values are whatever
 * somebody wrote: what comes out is bounded, and printable. Pure.
 */
#ifndef NODE_MAIL_ORIGIN_H
#define NODE_MAIL_ORIGIN_H

#include "node/mail/header.h"

#define ORIGIN_MAX 120 /* bytes of a result */
#define ORIGIN_NAME_MAX 63
#define ORIGIN_HEADERS_MAX 16
/* Fields of one name that contradict each other; no value becomes this. */
#define ORIGIN_SEVERAL "?several"

enum origin_form {
    ORIGIN_TEXT,   /* as it is */
    ORIGIN_USER,   /* one word: a user, or an address with or without <> */
    ORIGIN_SCRIPT, /* "1001:contact.php", as PHP's mail.add_x_header writes it */
    ORIGIN_PATH, /* "/home/x/contact.php", "example.com:/contact", "example.com/contact.php for 192.0.2.1" */
    ORIGIN_FORMS
};
extern const char *const origin_form_names[ORIGIN_FORMS + 1];

struct origin_header {
    char name[ORIGIN_NAME_MAX + 1];
    uint8_t form; /* enum origin_form */
};

/* The form of a header that is known by its name; else TEXT. */
enum origin_form origin_form_of(struct span name);
/* False: it is not of that form, or empty. */
bool origin_normalise(enum origin_form form, struct span value, char out[ORIGIN_MAX + 1]);
/* The first of these headers, in their order, that has a value of its form. False: none has. */
bool origin_find(const struct mail_header *h, const struct origin_header *headers, uint32_t n,
                 char out[ORIGIN_MAX + 1]);

#endif
