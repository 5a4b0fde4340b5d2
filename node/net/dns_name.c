/* Domain names as text and in wire format, TXT records, and the hosts file. Asks nobody. Any thread. */
#include "node/net/dns_impl.h"

#include "base/err.h"

#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_TEXT_MAX 253 /* RFC 1035's 255 octets in wire format, as text */
#define HOSTS_MAX 4096    /* entries; more are ignored */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Host names have letters, digits and "-"; "_" is seen in use too. */
static bool host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* ASCII, labels of 1 to 63 characters, one final dot allowed. */
static int ascii_normalise(struct span name, char out[DNS_NAME_MAX])
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n > NAME_TEXT_MAX)
        return ERR_BAD;
    size_t label = 0;
    for (size_t i = 0; i < name.n; i++) {
        char c = lower(name.p[i]);
        if (c == '.' ? label == 0 : !host_char(c) || label == 63)
            return ERR_BAD;
        label = c == '.' ? 0 : label + 1;
        out[i] = c;
    }
    out[name.n] = '\0';
    return label == 0 ? ERR_BAD : 0;
}

int dns_name_normalise(struct span name, char out[256])
{
    bool ascii = true;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '\0')
            return ERR_BAD;
        ascii = ascii && (unsigned char)name.p[i] < 0x80;
    }
    if (ascii)
        return ascii_normalise(name, out);
    char z[1024];
    if (name.n >= sizeof z)
        return ERR_BAD;
    memcpy(z, name.p, name.n);
    z[name.n] = '\0';
    char *ace = NULL;
    /* RFC 5891 by way of Unicode TS 46, so that upper case and full-width forms are understood */
    if (idn2_to_ascii_8z(z, &ace, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
        return ERR_BAD;
    int err = ascii_normalise(span_str(ace), out);
    idn2_free(ace);
    return err;
}

int dns_name_from_wire(const char *p, size_t n, char out[DNS_NAME_MAX])
{
    size_t at = 0;
    size_t len = 0;
    for (;;) {
        if (at >= n)
            return ERR_BAD;
        size_t label = (unsigned char)p[at++];
        if (label == 0)
            break;
        if (label > 63 || label > n - at || len + label + 1 > NAME_TEXT_MAX + 1)
            return ERR_BAD;
        if (len > 0)
            out[len++] = '.';
        for (size_t i = 0; i < label; i++) {
            char c = lower(p[at + i]);
            if (!host_char(c))
                return ERR_BAD;
            out[len++] = c;
        }
        at += label;
    }
    out[len] = '\0';
    return at == n ? 0 : ERR_BAD;
}

int dns_txt_join(struct span rdata, struct buf *out)
{
    while (rdata.n > 0) {
        size_t len = (unsigned char)rdata.p[0];
        if (len > rdata.n - 1)
            return ERR_BAD;
        int err = buf_put(out, rdata.p + 1, len);
        if (err != 0)
            return err;
        rdata = span_sub(rdata, len + 1);
    }
    return 0;
}

struct hosts_entry {
    struct ip_addr addr;
    char *name;
};

struct dns_hosts {
    size_t n;
    struct hosts_entry entries[];
};

static void hosts_line(struct dns_hosts *h, char *line)
{
    char *save = NULL;
    line[strcspn(line, "#\n")] = '\0';
    char *word = strtok_r(line, " \t\r", &save);
    struct ip_addr addr;
    if (word == NULL || ip_addr_parse(span_str(word), &addr) != 0)
        return;
    while (h->n < HOSTS_MAX && (word = strtok_r(NULL, " \t\r", &save)) != NULL) {
        char name[DNS_NAME_MAX];
        if (dns_name_normalise(span_str(word), name) != 0)
            continue;
        struct hosts_entry e = { .addr = addr, .name = strdup(name) };
        if (e.name != NULL)
            h->entries[h->n++] = e;
    }
}

struct dns_hosts *dns_hosts_read(const char *file)
{
    struct dns_hosts *h = calloc(1, sizeof *h + HOSTS_MAX * sizeof *h->entries);
    if (h == NULL)
        return NULL;
    FILE *f = fopen(file, "re");
    if (f != NULL) { /* a system without one is fine */
        char line[1024];
        while (fgets(line, sizeof line, f) != NULL)
            hosts_line(h, line);
        fclose(f);
    }
    struct dns_hosts *fit = realloc(h, sizeof *h + h->n * sizeof *h->entries);
    return fit == NULL ? h : fit;
}

void dns_hosts_free(struct dns_hosts *h)
{
    if (h == NULL)
        return;
    for (size_t i = 0; i < h->n; i++)
        free(h->entries[i].name);
    free(h);
}

size_t dns_hosts_find(const struct dns_hosts *h, const char *name, struct ip_addr *out, size_t max)
{
    size_t found = 0;
    for (size_t i = 0; i < h->n && found < max; i++) {
        if (strcmp(h->entries[i].name, name) == 0)
            out[found++] = h->entries[i].addr;
    }
    return found;
}
