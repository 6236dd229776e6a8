//! Values of the larger kinds.

use crate::example::kitchen_sink::values::{Cookbook, Diet, Ingredient, Recipe, Step, Unit};

pub fn strings() -> Vec<String> {
    vec![
        String::new(),
        "żółw 🐇\0\n".to_owned(),
        "carrot ".repeat(10_000),
    ]
}

pub fn bytes() -> Vec<Vec<u8>> {
    vec![vec![], (0..=u8::MAX).collect(), vec![0xff; 100_000]]
}

pub fn ingredients() -> Vec<Ingredient> {
    let ingredient = |name: &str, amount, unit| Ingredient {
        name: name.to_owned(),
        amount,
        unit,
    };
    vec![
        ingredient("carrot", 3.0, Unit::Piece),
        ingredient("flour", 250.0, Unit::Gram),
        ingredient("oil", 0.2, Unit::Litre),
    ]
}

pub fn steps() -> Vec<Step> {
    let [carrot, ..] = &ingredients()[..] else {
        unreachable!("there are three")
    };
    vec![
        Step::Add(carrot.clone()),
        Step::Mix(ingredients()),
        Step::Wait(u32::MAX),
        Step::Taste,
    ]
}

pub fn cookbooks() -> Vec<Cookbook> {
    let cake = Recipe {
        title: "Carrot cake".to_owned(),
        diet: Diet::VEGAN,
        portions: Some(12),
        oven: Ok((175, 'C')),
        steps: steps(),
        photo: vec![0xff, 0xd8, 0xff],
    };
    let salad = Recipe {
        title: "Salad".to_owned(),
        diet: Diet::all(),
        portions: None,
        oven: Err("stays cold".to_owned()),
        steps: vec![],
        photo: vec![],
    };
    let recipes = [("cake".to_owned(), cake), ("salad".to_owned(), salad)];
    vec![
        Ok(recipes.to_vec()),
        Ok(vec![]),
        Err(None),
        Err(Some(Unit::Litre)),
    ]
}
