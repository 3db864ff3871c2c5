package canon

import (
	"testing"
)

func TestMarshalSortsAndKeepsIntegers(t *testing.T) {
	got, err := Marshal(map[string]any{"b": 1, "a": []any{true, nil, "x\"\\\n\u2028<é"}, "c": map[string]int64{"z": -5, "y": MaxInteger}})
	want := `{"a":[true,null,"x\"\\\n` + "\u2028<é" + `"],"b":1,"c":{"y":9007199254740991,"z":-5}}`
	if err != nil || string(got) != want {
		t.Errorf("%s %v, want %s", got, err, want)
	}
	if err := Check(got); err != nil {
		t.Errorf("its own spelling is refused: %v", err)
	}
}

func TestCheckRefusesEverySecondSpelling(t *testing.T) {
	for _, b := range []string{
		`{"b":1,"a":2}`, `{"a":1,"a":1}`, `{ "a":1}`, `{"a":1.0}`, `{"a":1e3}`, `{"a":9007199254740992}`, `{"a":-0}`, `{"a":"\u0061"}`, `{"a":"\/"}`,
		`{"a":1}{}`, `{"a":1} `, `[1,]`, ``, `{"a":"` + "\xff" + `"}`,
	} {
		if err := Check([]byte(b)); err == nil {
			t.Errorf("%q passes", b)
		}
	}
}
