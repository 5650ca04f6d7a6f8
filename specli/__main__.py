from specli.cli.main import main

main()
