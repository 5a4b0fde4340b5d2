/* The fields of this folder's JSON. */
#include "node/cluster/fields.h"

#include "base/err.h"
#include "base/text.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int field_put(const json_t *root, size_t flags, struct buf *out)
{
    char *text = root == NULL ? NULL : json_dumps(root, flags);
    if (text == NULL)
        return -ENOMEM;
    int err = buf_put_str(out, text);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
    return err;
}

void field_put_hex(const uint8_t *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

json_t *field_make_seeds(const struct identity_seed *seeds, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list != NULL && i < n; i++) {
        json_t *s = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)seeds[i].id, "raft_address",
                              seeds[i].raft_address, "gossip_address", seeds[i].gossip_address);
        if (json_array_append_new(list, s) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

bool field_u64(const json_t *o, const char *key, uint64_t min, uint64_t max, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return *out >= min && *out <= max;
}

static struct span text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? span_of(json_string_value(v), json_string_length(v)) : (struct span){ 0 };
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool field_parse_hex(struct span s, uint8_t *out, size_t n)
{
    if (s.n != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int high = digit(s.p[2 * i]), low = digit(s.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool field_hex(const json_t *o, const char *key, uint8_t *out, size_t n)
{
    return field_parse_hex(text_of(o, key), out, n);
}

bool field_text(const json_t *o, const char *key, char *out, size_t cap)
{
    struct span s = text_of(o, key);
    if (s.p == NULL || s.n >= cap)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    }
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

bool field_name(const json_t *o, const char *key, char out[64])
{
    return field_text(o, key, out, 64) && field_name_ok(span_str(out));
}

bool field_address(const json_t *o, const char *key, char out[128])
{
    return field_text(o, key, out, 128) && field_address_ok(span_str(out));
}

bool field_pem(const json_t *o, const char *key, struct span *out)
{
    *out = text_of(o, key);
    return out->n > 0 && out->n <= FIELD_PEM_MAX && text_ascii(*out);
}

bool field_seeds(const json_t *o, struct identity_seed seeds[16], uint32_t *n)
{
    const json_t *list = json_object_get(o, "seeds");
    if (!json_is_array(list) || json_array_size(list) > 16)
        return false;
    *n = (uint32_t)json_array_size(list);
    for (uint32_t i = 0; i < *n; i++) {
        const json_t *s = json_array_get(list, i);
        if (!field_u64(s, "id", 1, FIELD_NUMBER_MAX, &seeds[i].id) ||
            !field_address(s, "raft_address", seeds[i].raft_address) ||
            !field_address(s, "gossip_address", seeds[i].gossip_address))
            return false;
    }
    return true;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

bool field_name_ok(struct span name)
{
    if (name.n == 0 || name.n > 63)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!name_char(name.p[i]))
            return false;
    }
    return true;
}

bool field_address_ok(struct span address)
{
    struct span host;
    uint16_t port;
    if (address.n > 127 || text_host_port(address, &host, &port) != 0)
        return false;
    bool literal = address.p[0] == '[';
    for (size_t i = 0; i < host.n; i++) {
        if (!name_char(host.p[i]) && !(literal && (host.p[i] == ':' || host.p[i] == '%')))
            return false;
    }
    return true;
}

bool field_seeds_ok(const struct identity_seed *seeds, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (seeds[i].id == 0 || seeds[i].id > FIELD_NUMBER_MAX ||
            !field_address_ok(span_str(seeds[i].raft_address)) ||
            !field_address_ok(span_str(seeds[i].gossip_address)))
            return false;
    }
    return true;
}
