use proptest::prelude::*;

use super::*;

fn registers(kind: RegisterType, order: WordOrder, scale: f64) -> Registers {
    Registers {
        table: Table::Holding,
        read_function: 3,
        write_function: 16,
        start: 24,
        count: u16::try_from(kind.registers(Some(4))).unwrap(),
        block: None,
        kind,
        order,
        scale,
        offset: 0.0,
        unit: None,
        invalid: vec![Sentinel::Number(-1.0), Sentinel::Bits(0x8002)],
        bits: None,
    }
}

fn number(value: f64) -> Content {
    Content::Number(value)
}

#[test]
fn a_scaled_integer_reads_and_writes_back() {
    let register = registers(RegisterType::I16, WordOrder::Abcd, 0.1);
    let reading = |word: u16| register.reading(&Answer::Words(vec![word]));
    assert_eq!(reading(251), Ok(Reading::Number(25.1)));
    assert_eq!(reading(0xff9c), Ok(Reading::Number(-10.0)));
    assert_eq!(reading(0xffff), Ok(Reading::Invalid("-1".to_owned())));
    assert_eq!(reading(0x8002), Ok(Reading::Invalid("0x8002".to_owned())));
    let write = Request::WriteMultiple { start: 24, words: vec![800] };
    assert_eq!(register.write(&number(80.0)), Ok(write));
    assert!(register.write(&number(4000.0)).unwrap_err().contains("does not fit"));
    assert!(register.write(&number(f64::NAN)).is_err());
    assert!(register.write(&Content::Text("80".to_owned())).is_err());
    assert!(register.holds(&Reading::Number(80.0), &number(80.04)));
    assert!(!register.holds(&Reading::Number(80.0), &number(80.1)));
}

#[test]
fn large_whole_numbers_keep_their_digits_or_are_refused() {
    let register = registers(RegisterType::U64, WordOrder::Abcd, 1.0);
    let reading = |words: [u16; 4]| register.reading(&Answer::Words(words.to_vec()));
    let exact = 9_007_199_254_740_991.0;
    assert_eq!(reading([0x1f, 0xffff, 0xffff, 0xffff]), Ok(Reading::Number(exact)));
    assert!(reading([0x40, 0, 0, 0]).unwrap_err().contains("lose digits"));
    let register = registers(RegisterType::I64, WordOrder::Abcd, 1.0);
    assert!(register.reading(&Answer::Words(vec![0x8000, 0, 0, 0])).is_err());
}

#[test]
fn word_orders_differ() {
    // 78.2 as a float is 0x429C6666.
    for (order, words) in [
        (WordOrder::Abcd, vec![0x429c, 0x6666]),
        (WordOrder::Cdab, vec![0x6666, 0x429c]),
        (WordOrder::Badc, vec![0x9c42, 0x6666]),
        (WordOrder::Dcba, vec![0x6666, 0x9c42]),
    ] {
        let register = registers(RegisterType::F32, order, 1.0);
        let reading = register.reading(&Answer::Words(words.clone())).unwrap();
        assert!(register.holds(&reading, &number(78.2)), "{order:?} {reading:?}");
        let write = register.write(&number(78.2));
        assert_eq!(write, Ok(Request::WriteMultiple { start: 24, words }));
    }
}

#[test]
fn a_float_that_is_no_number_is_refused() {
    let register = registers(RegisterType::F32, WordOrder::Abcd, 1.0);
    assert!(register.reading(&Answer::Words(vec![0x7fc0, 0])).is_err());
    assert!(register.write(&number(1e39)).unwrap_err().contains("32 bits"));
    let mut register = register;
    register.invalid = vec![Sentinel::Number(9.9e37)];
    let [high, low] = [(9.9e37_f32.to_bits() >> 16) as u16, 9.9e37_f32.to_bits() as u16];
    let reading = register.reading(&Answer::Words(vec![high, low])).unwrap();
    assert!(matches!(reading, Reading::Invalid(_)), "{reading:?}");
}

#[test]
fn a_value_is_cut_out_of_the_block_it_must_be_read_with() {
    let mut register = registers(RegisterType::F32, WordOrder::Cdab, 1.0);
    register.block = Some((22, 10));
    assert_eq!(register.read(), Request::Read { function: 3, start: 22, count: 10 });
    let words = vec![0, 0, 0x6666, 0x429c, 0, 0, 0, 0, 0, 0];
    let reading = register.reading(&Answer::Words(words)).unwrap();
    assert!(register.holds(&reading, &number(78.2)), "{reading:?}");
    assert!(register.reading(&Answer::Words(vec![0, 0, 0x6666])).is_err());
}

#[test]
fn bits_have_names_and_a_declared_numbering() {
    let mut register = registers(RegisterType::U16, WordOrder::Abcd, 1.0);
    register.invalid.clear();
    // Bit 15 from the most significant is bit 0 from the least.
    register.bits = Some(Bits(BTreeMap::from([("on".to_owned(), 0), ("hot".to_owned(), 15)])));
    let Ok(Reading::Bits(bits)) = register.reading(&Answer::Words(vec![0x8000])) else { panic!() };
    assert_eq!((bits["on"], bits["hot"]), (false, true));
    assert_eq!(register.shown(&Reading::Bits(bits)), Ok(vec![0x8000]));
    assert!(register.write(&number(1.0)).unwrap_err().contains("clear the others"));
}

#[test]
fn strings_are_read_and_written_whole() {
    let register = registers(RegisterType::String, WordOrder::Abcd, 1.0);
    let text = |text: &str| Content::Text(text.to_owned());
    let words = vec![0x4142, 0x4300, 0, 0];
    let write = Request::WriteMultiple { start: 24, words: words.clone() };
    assert_eq!(register.write(&text("ABC")), Ok(write));
    let reading = register.reading(&Answer::Words(words)).unwrap();
    assert_eq!(reading, Reading::Text("ABC".to_owned()));
    assert!(register.holds(&reading, &text("ABC")));
    assert!(register.write(&text("123456789")).unwrap_err().contains("more than 8"));
    assert!(register.write(&text("µ")).is_err() && register.write(&text("a ")).is_err());
    assert!(register.write(&number(1.0)).is_err());
    assert!(register.reading(&Answer::Words(vec![0x0141, 0, 0, 0])).is_err());
}

#[test]
fn the_function_that_writes_can_be_named() {
    let mut register = registers(RegisterType::U16, WordOrder::Abcd, 1.0);
    register.write_function = 6;
    assert_eq!(register.write(&number(7.0)), Ok(Request::WriteSingle { at: 24, word: 7 }));
    let mut coil = Registers { table: Table::Coil, kind: RegisterType::Bool, ..register };
    coil.write_function = 15;
    let write = Request::WriteCoils { start: 24, bits: vec![true] };
    assert_eq!(coil.write(&number(1.0)), Ok(write));
    coil.write_function = 5;
    assert_eq!(coil.write(&number(1.0)), Ok(Request::WriteCoil { at: 24, on: true }));
    assert!(coil.write(&number(2.0)).is_err());
    coil.table = Table::Discrete;
    assert!(coil.write(&number(1.0)).is_err());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in -3000.0..3000.0_f64, order in 0..4) {
        let orders = [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba];
        for kind in [
            RegisterType::I16,
            RegisterType::I32,
            RegisterType::I64,
            RegisterType::F32,
            RegisterType::F64,
        ] {
            let register = registers(kind, orders[order as usize], 0.1);
            let Ok(Request::WriteMultiple { words, .. }) = register.write(&number(value)) else {
                panic!()
            };
            let reading = register.reading(&Answer::Words(words)).unwrap();
            if let Reading::Number(_) = reading {
                prop_assert!(register.holds(&reading, &number(value)));
            }
        }
    }

    #[test]
    fn no_answer_panics(words: Vec<u16>, start in 0_u16..40) {
        for kind in [RegisterType::U64, RegisterType::String, RegisterType::F32] {
            let mut register = registers(kind, WordOrder::Cdab, 1.0);
            register.block = Some((start.min(24), 30));
            let _ = register.reading(&Answer::Words(words.clone()));
        }
    }
}
