/* Checks a request's parameters against its route's table. */
#include "node/admin/params.h"

#include "base/err.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

bool admin_id_ok(struct span s, char out[ADMIN_ID_TEXT])
{
    if (s.n == 0 || s.n >= ADMIN_ID_TEXT)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')))
            return false;
        out[i] = c;
    }
    out[s.n] = '\0';
    return true;
}

/* Digits only, exactly n of them. */
static bool digits(const char *p, size_t n, int *v)
{
    *v = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *v = *v * 10 + (p[i] - '0');
    }
    return true;
}

static int parse_offset(struct span s, int64_t *seconds)
{
    int h, m;
    if (span_eq_nocase(s, SPAN_LIT("Z"))) {
        *seconds = 0;
        return 0;
    }
    if (s.n != 6 || (s.p[0] != '+' && s.p[0] != '-') || !digits(s.p + 1, 2, &h) || s.p[3] != ':' ||
        !digits(s.p + 4, 2, &m) || h > 23 || m > 59)
        return ERR_BAD;
    *seconds = (int64_t)(h * 3600 + m * 60) * (s.p[0] == '-' ? -1 : 1);
    return 0;
}

int admin_time_parse(struct span s, int64_t *ms)
{
    struct tm tm = { 0 };
    int64_t offset = 0;
    if (s.n < 10 || !digits(s.p, 4, &tm.tm_year) || s.p[4] != '-' || !digits(s.p + 5, 2, &tm.tm_mon) ||
        s.p[7] != '-' || !digits(s.p + 8, 2, &tm.tm_mday))
        return ERR_BAD;
    if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31)
        return ERR_BAD;
    if (s.n > 10) {
        if (s.n < 20 || (s.p[10] != 'T' && s.p[10] != 't' && s.p[10] != ' ') ||
            !digits(s.p + 11, 2, &tm.tm_hour) || s.p[13] != ':' || !digits(s.p + 14, 2, &tm.tm_min) ||
            s.p[16] != ':' || !digits(s.p + 17, 2, &tm.tm_sec) || tm.tm_hour > 23 || tm.tm_min > 59 ||
            tm.tm_sec > 60)
            return ERR_BAD;
        size_t at = 19;
        if (s.p[at] == '.')
            for (at++; at < s.n && s.p[at] >= '0' && s.p[at] <= '9';)
                at++;
        if (parse_offset(span_sub(s, at), &offset) != 0)
            return ERR_BAD;
    }
    int seconds = (tm.tm_hour * 60 + tm.tm_min) * 60 + tm.tm_sec;
    int day = tm.tm_mday;
    tm = (struct tm){ .tm_year = tm.tm_year - 1900, .tm_mon = tm.tm_mon - 1, .tm_mday = day };
    int64_t t = (int64_t)timegm(&tm);
    if (tm.tm_mday != day) /* timegm made 3 March of 31 February */
        return ERR_BAD;
    *ms = (t + seconds - offset) * 1000;
    return 0;
}

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0))
            return true;
    }
    return false;
}

static int check_text(const struct admin_param *p, struct span s, struct admin_error *e)
{
    if (s.n == 0)
        return admin_fail(e, ERR_BAD, "%s is empty", p->name);
    if (s.n > ADMIN_TEXT_MAX)
        return admin_fail(e, ERR_BAD, "%s is longer than %d bytes", p->name, ADMIN_TEXT_MAX);
    if (!text_utf8_valid(s) || memchr(s.p, '\0', s.n) != NULL)
        return admin_fail(e, ERR_BAD, "%s is not valid UTF-8 text", p->name);
    if (has_control(s))
        return admin_fail(e, ERR_BAD, "%s holds a control character", p->name);
    return 0;
}

/* A document: tabs and line ends are its own, and what else is wrong with it its reader says. */
static int check_document(const struct admin_param *p, struct span s, struct admin_error *e)
{
    if (s.n > (size_t)p->max)
        return admin_fail(e, ERR_BAD, "%s is longer than %lld bytes", p->name, (long long)p->max);
    if (memchr(s.p, '\0', s.n) != NULL)
        return admin_fail(e, ERR_BAD, "%s holds a NUL character", p->name);
    return 0;
}

static bool choice_ok(const char *choices, struct span s)
{
    for (const char *c = choices; *c != '\0';) {
        size_t n = strcspn(c, "|");
        if (span_eq(span_of(c, n), s))
            return true;
        c += n + (c[n] == '|');
    }
    return false;
}

/* A number as text, for queries. */
static bool parse_int(struct span s, int64_t *v)
{
    uint64_t u;
    if (text_u64(s, &u) != 0 || u > INT64_MAX)
        return false;
    *v = (int64_t)u;
    return true;
}

static int check_int(const struct admin_param *p, int64_t v, json_t **out, struct admin_error *e)
{
    if (v < p->min || v > p->max)
        return admin_fail(e, ERR_BAD, "%s must be from %lld to %lld", p->name, (long long)p->min,
                          (long long)p->max);
    *out = json_integer(v);
    return 0;
}

static int read_time(const struct admin_param *p, struct span s, int64_t now_ms, int64_t *ms,
                     struct admin_error *e)
{
    uint64_t number;
    int64_t ago;
    if (admin_time_parse(s, ms) == 0)
        return 0;
    /* A bare number below 1e11 would be 1973 as ms: it is meant as seconds ago. */
    if (text_u64(s, &number) == 0 && number >= 100000000000u && number < INT64_MAX) {
        *ms = (int64_t)number;
        return 0;
    }
    if (text_duration_ms(s, &ago) == 0 && ago < now_ms) {
        *ms = now_ms - ago;
        return 0;
    }
    return admin_fail(e, ERR_BAD, "%s is no time: give 2026-01-31T12:00:00Z, or a duration like 2h", p->name);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

static int sort_array(json_t *array)
{
    size_t n = json_array_size(array);
    json_t **items = calloc(n + 1, sizeof(json_t *));
    if (items == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        items[i] = json_incref(json_array_get(array, i));
    qsort(items, n, sizeof(json_t *), compare_strings);
    for (size_t i = 0; i < n; i++)
        json_array_set_new(array, i, items[i]);
    free(items);
    return 0;
}

static int add_id(const struct admin_param *p, struct span s, json_t *ids, struct admin_error *e)
{
    char id[ADMIN_ID_TEXT];
    if (!admin_id_ok(s, id))
        return admin_fail(e, ERR_BAD, "%s holds what is no queue id", p->name);
    if (json_array_size(ids) >= ADMIN_IDS_MAX)
        return admin_fail(e, ERR_BAD, "%s holds more than %d ids", p->name, ADMIN_IDS_MAX);
    return json_array_append_new(ids, json_string(id)) == 0 ? 0 : admin_fail(e, -ENOMEM, "out of memory");
}

static int finish_ids(const struct admin_param *p, json_t *ids, json_t **out, int err, struct admin_error *e)
{
    if (err == 0 && json_array_size(ids) == 0)
        err = admin_fail(e, ERR_BAD, "%s is empty", p->name);
    if (err == 0)
        err = sort_array(ids);
    if (err == 0)
        *out = ids;
    else
        json_decref(ids);
    return err;
}

/* A value that came as text: all of a query, strings of a body. */
static int convert_text(const struct admin_param *p, struct span s, int64_t now_ms, bool query, json_t **out,
                        struct admin_error *e)
{
    int64_t v = 0;
    int err = p->type == ADMIN_TYPE_TEXT ? check_document(p, s, e) : check_text(p, s, e);
    if (err != 0)
        return err;
    switch (p->type) {
    case ADMIN_TYPE_STRING:
    case ADMIN_TYPE_SECRET:
    case ADMIN_TYPE_TEXT:
        *out = json_stringn(s.p, s.n);
        return 0;
    case ADMIN_TYPE_CHOICE:
        if (!choice_ok(p->choices, s))
            return admin_fail(e, ERR_BAD, "%s must be one of %s", p->name, p->choices);
        *out = json_stringn(s.p, s.n);
        return 0;
    case ADMIN_TYPE_DURATION:
        if (text_duration_ms(s, &v) != 0)
            return admin_fail(e, ERR_BAD, "%s is no duration: give 90s, 5m, 4h or 2d", p->name);
        return check_int(p, v, out, e);
    case ADMIN_TYPE_TIME:
        err = read_time(p, s, now_ms, &v, e);
        *out = err == 0 ? json_integer(v) : NULL;
        return err;
    case ADMIN_TYPE_INT:
        if (!query || !parse_int(s, &v))
            return admin_fail(e, ERR_BAD, "%s must be a number", p->name);
        return check_int(p, v, out, e);
    case ADMIN_TYPE_BOOL:
        if (!query || !choice_ok("true|false|1|0", s))
            return admin_fail(e, ERR_BAD, "%s must be true or false", p->name);
        *out = json_boolean(s.p[0] == 't' || s.p[0] == '1');
        return 0;
    case ADMIN_TYPE_IDS: {
        if (!query)
            break;
        json_t *ids = json_array();
        while (err == 0 && s.n > 0) {
            const char *comma = memchr(s.p, ',', s.n);
            size_t n = comma == NULL ? s.n : (size_t)(comma - s.p);
            err = add_id(p, span_of(s.p, n), ids, e);
            s = span_sub(s, n + 1 > s.n ? s.n : n + 1);
        }
        return finish_ids(p, ids, out, err, e);
    }
    case ADMIN_TYPE_STRINGS:
    case ADMIN_TYPE_OBJECTS:
        break;
    }
    return admin_fail(e, ERR_BAD, "%s must be an array", p->name);
}

static int convert_array(const struct admin_param *p, const json_t *array, json_t **out,
                         struct admin_error *e)
{
    int err = 0;
    size_t i;
    json_t *item, *made = json_array();
    json_array_foreach(array, i, item)
    {
        struct span s = span_of(json_string_value(item), json_string_length(item));
        if (!json_is_string(item)) {
            err = admin_fail(e, ERR_BAD, "%s must hold strings", p->name);
        } else if (p->type == ADMIN_TYPE_IDS) {
            err = add_id(p, s, made, e);
        } else {
            err = i >= (size_t)p->max
                      ? admin_fail(e, ERR_BAD, "%s holds more than %lld", p->name, (long long)p->max)
                      : check_text(p, s, e);
            if (err == 0)
                json_array_append(made, item);
        }
        if (err != 0)
            break;
    }
    if (p->type == ADMIN_TYPE_IDS)
        return finish_ids(p, made, out, err, e);
    if (err == 0)
        *out = made;
    else
        json_decref(made);
    return err;
}

static int convert_objects(const struct admin_param *p, json_t *array, json_t **out, struct admin_error *e)
{
    size_t i;
    json_t *item;
    if (json_array_size(array) > (size_t)p->max || json_array_size(array) == 0)
        return admin_fail(e, ERR_BAD, "%s must hold 1 to %lld entries", p->name, (long long)p->max);
    json_array_foreach(array, i, item)
    {
        if (!json_is_object(item))
            return admin_fail(e, ERR_BAD, "%s must hold objects", p->name);
    }
    *out = json_incref(array);
    return 0;
}

static int convert_json(const struct admin_param *p, json_t *v, int64_t now_ms, json_t **out,
                        struct admin_error *e)
{
    if (json_is_string(v))
        return convert_text(p, span_of(json_string_value(v), json_string_length(v)), now_ms, false, out, e);
    if (json_is_integer(v) && (p->type == ADMIN_TYPE_INT || p->type == ADMIN_TYPE_TIME))
        return check_int(
            p->type == ADMIN_TYPE_INT ? p : &(struct admin_param){ .name = p->name, .max = INT64_MAX },
            json_integer_value(v), out, e);
    if (json_is_boolean(v) && p->type == ADMIN_TYPE_BOOL) {
        *out = json_incref(v);
        return 0;
    }
    if (json_is_array(v) && (p->type == ADMIN_TYPE_IDS || p->type == ADMIN_TYPE_STRINGS))
        return convert_array(p, v, out, e);
    if (json_is_array(v) && p->type == ADMIN_TYPE_OBJECTS)
        return convert_objects(p, v, out, e);
    return admin_fail(e, ERR_BAD, "%s has the wrong type", p->name);
}

static const struct admin_param *find_param(const struct admin_param *table, struct span name)
{
    for (const struct admin_param *p = table; p->name != NULL; p++)
        if (span_eq(span_str(p->name), name))
            return p;
    return NULL;
}

/* The name is the client's: only if it is plain does the error repeat it. */
static int unknown_param(struct span name, struct admin_error *e)
{
    bool plain = name.n > 0 && name.n <= 40;
    for (size_t i = 0; plain && i < name.n; i++)
        plain = (name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= 'A' && name.p[i] <= 'Z') ||
                name.p[i] == '_';
    return plain ? admin_fail(e, ERR_BAD, "there is no parameter %.*s here", (int)name.n, name.p)
                 : admin_fail(e, ERR_BAD, "there is a parameter that is not known here");
}

static int check_required(const struct admin_param *table, const json_t *args, struct admin_error *e)
{
    for (const struct admin_param *p = table; p->name != NULL; p++)
        if (p->required && json_object_get(args, p->name) == NULL)
            return admin_fail(e, ERR_BAD, "%s is missing", p->name);
    return 0;
}

int admin_args_query(const struct admin_param *table, const struct admin_pair *pairs, size_t n,
                     int64_t now_ms, json_t **out, struct admin_error *e)
{
    json_t *args = json_object();
    int err = 0;
    for (size_t i = 0; i < n && err == 0; i++) {
        json_t *made = NULL;
        const struct admin_param *p = find_param(table, pairs[i].name);
        if (p == NULL)
            err = unknown_param(pairs[i].name, e);
        else if (json_object_get(args, p->name) != NULL)
            err = admin_fail(e, ERR_BAD, "%s is given twice", p->name);
        else
            err = convert_text(p, pairs[i].value, now_ms, true, &made, e);
        if (err == 0 && json_object_set_new(args, p->name, made) != 0)
            err = admin_fail(e, -ENOMEM, "out of memory");
    }
    if (err == 0)
        err = check_required(table, args, e);
    if (err == 0)
        *out = args;
    else
        admin_args_free(args);
    return err;
}

int admin_args_check(const struct admin_param *table, json_t *object, int64_t now_ms, struct admin_error *e)
{
    const char *key;
    json_t *v;
    void *next;
    json_object_foreach_safe(object, next, key, v)
    {
        json_t *made = NULL;
        const struct admin_param *p = find_param(table, span_str(key));
        if (p == NULL)
            return unknown_param(span_str(key), e);
        if (json_is_null(v)) { /* not given */
            json_object_del(object, key);
            continue;
        }
        int err = convert_json(p, v, now_ms, &made, e);
        if (err != 0)
            return err;
        bool secret = p->type == ADMIN_TYPE_SECRET || p->type == ADMIN_TYPE_TEXT;
        if (secret)
            explicit_bzero((char *)(uintptr_t)json_string_value(v), json_string_length(v));
        if (json_object_set_new(object, p->name, made) != 0)
            return admin_fail(e, -ENOMEM, "out of memory");
    }
    return check_required(table, object, e);
}

int admin_args_body(const struct admin_param *table, struct span body, int64_t now_ms, json_t **out,
                    struct admin_error *e)
{
    json_error_t why = { .line = 0 };
    json_t *args = body.n == 0 ? json_object() : json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &why);
    if (args == NULL) /* the library's words may quote the body, which may hold a password */
        return admin_fail(e, ERR_BAD, "the body is not valid JSON: line %d, column %d", why.line, why.column);
    int err = json_is_object(args) ? admin_args_check(table, args, now_ms, e)
                                   : admin_fail(e, ERR_BAD, "the body must be a JSON object");
    if (err == 0)
        *out = args;
    else
        admin_args_free(args);
    return err;
}

/* Overwrites every string: any of them may be a password, and a body is small. */
static void wipe(json_t *v)
{
    const char *key;
    size_t i;
    json_t *item;
    if (json_is_string(v))
        explicit_bzero((char *)(uintptr_t)json_string_value(v), json_string_length(v));
    json_object_foreach(v, key, item)
    {
        wipe(item);
    }
    json_array_foreach(v, i, item)
    {
        wipe(item);
    }
}

void admin_args_free(json_t *args)
{
    wipe(args);
    json_decref(args);
}

const char *admin_arg_str(const json_t *args, const char *name)
{
    return json_string_value(json_object_get(args, name));
}

int64_t admin_arg_int(const json_t *args, const char *name, int64_t otherwise)
{
    const json_t *v = json_object_get(args, name);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : otherwise;
}

bool admin_arg_bool(const json_t *args, const char *name)
{
    return json_is_true(json_object_get(args, name));
}
