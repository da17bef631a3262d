// Ids of a request looked up in the tables of model.bundle.id_index.IdIndex, whose find() this is, one id at a time.
// Legend: n known ids.

#include <cstdint>
#include <cstring>

namespace {

struct Index {
    const uint8_t* text;           // every known id, each ended by NUL
    const void* start;             // where each begins, [n + 1]: uint32_t, or int64_t where start_bytes is 8
    const uint64_t* hash;          // ascending
    const int32_t* code;           // of each hash, from 1
    const int32_t* directory;      // for the leading bits of a hash, the first place that may hold it
    const uint64_t* power;         // of the polynomial hash
    int64_t known, longest, start_bytes, shift;
    uint64_t mixer;

    int64_t start_of(int64_t code) const {
        return start_bytes == 8 ? static_cast<const int64_t*>(start)[code] : static_cast<const uint32_t*>(start)[code];
    }
};

// length: with the NUL that ends it.
int32_t code_of(const Index& index, const uint8_t* id, int64_t length) {
    if (length > index.longest) return 0;
    uint64_t hash = 0;
    for (int64_t i = 0; i < length; i++) hash += id[i] * index.power[i];
    hash ^= hash >> 32;
    hash *= index.mixer;
    hash ^= hash >> 29;
    int64_t place = index.directory[hash >> index.shift];
    while (place < index.known && index.hash[place] < hash) place++;
    if (place >= index.known || index.hash[place] != hash) return 0;
    const int32_t code = index.code[place];
    const int64_t begin = index.start_of(code - 1);
    if (index.start_of(code) - begin != length) return 0;
    return std::memcmp(index.text + begin, id, length) ? 0 : code;
}

}  // namespace

// Codes of the ids in `text`, each ended by NUL, 0 where unknown. Returns how many there are, -1 for more than `count`.
extern "C" int64_t find_ids(const Index* index, const uint8_t* text, int64_t bytes, int32_t* codes, int64_t count) {
    int64_t found = 0;
    for (const uint8_t *id = text, *end = text + bytes; id < end; found++) {
        const uint8_t* stop = static_cast<const uint8_t*>(std::memchr(id, 0, end - id));
        if (stop == nullptr || found == count) return -1;
        codes[found] = code_of(*index, id, stop + 1 - id);
        id = stop + 1;
    }
    return found;
}
