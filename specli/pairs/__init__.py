"""What makes two models a pair: vocabulary rules, sizing, search."""
